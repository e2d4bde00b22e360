import { appendFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { checkModels } from '../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { readGolden } from '../../schemas/pipeline/golden.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { listModelVersions, readModelManifest, verifyModelFile } from '../../schemas/pipeline/manifest.ts'
import { formatProblem, PipelineError } from '../../schemas/pipeline/problems.ts'
import { ORDERS } from '../support/pipeline-copy.ts'

type Json = Record<string, unknown>
type Manifest = {
  input: { features: Json[] } & Json
  output: Json
  golden: { features: unknown[]; outputs: unknown[] }[]
} & Json

let directory = ''
let pipeline: CompiledPipeline
beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'millrace-models-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  cpSync(path.join(ORDERS, 'models'), directory, { recursive: true })
  const orders = await loadPipeline(ORDERS)
  pipeline = { ...orders, model: { ...orders.model, directory } }
})

function edit(change: (manifest: Manifest) => void, version = '1'): void {
  const file = path.join(directory, version, 'manifest.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8'))
  change(manifest)
  writeFileSync(file, JSON.stringify(manifest))
}

/** What is wrong with the models, with files relative to their directory. */
async function problems(): Promise<readonly string[]> {
  return (await checkModels(pipeline)).map((problem) => formatProblem(problem).replaceAll(`${directory}/`, ''))
}

test('a manifest is read with its feature set, which is that of the pipeline', async () => {
  const manifest = readModelManifest(path.join(directory, '1'))
  expect(manifest).toMatchObject({ name: 'order-risk', version: '1', task: 'multiclass', training: null })
  expect(manifest.output).toEqual({
    tensors: [{ name: 'probabilities', width: 3, offset: 0 }],
    width: 3,
    ranges: [
      [0, 1],
      [0, 1],
      [0, 1],
    ],
    classes: ['accept', 'review', 'refuse'],
  })
  expect(manifest.featureSet).toEqual(pipeline.featureSet)
  expect((await verifyModelFile(manifest)).length).toBeGreaterThan(0)
  expect(await problems()).toEqual([])
})

test('versions are listed in order, folders without a manifest left out', async () => {
  for (const version of ['10', '9'])
    cpSync(path.join(directory, '1'), path.join(directory, version), { recursive: true })
  rmSync(path.join(directory, '9', 'manifest.json'))
  cpSync(path.join(directory, '1'), path.join(directory, '2'), { recursive: true })
  expect(listModelVersions(directory).map((folder) => path.basename(folder))).toEqual(['1', '2', '10'])
  expect(listModelVersions(path.join(directory, 'none'))).toEqual([])
})

test('one version that fits is enough; a damaged one beside it is told', async () => {
  cpSync(path.join(directory, '1'), path.join(directory, '2'), { recursive: true })
  edit((manifest) => {
    manifest['version'] = '2'
    manifest.input.features.reverse()
    for (const row of manifest.golden) row.features.reverse()
  }, '2')
  expect(await problems()).toEqual([])
  appendFileSync(path.join(directory, '2', 'model.onnx'), 'x')
  expect(await problems()).toEqual([
    expect.stringMatching(/^2\/model\.onnx: the model file is not the one its manifest/),
  ])
})

test('no model at all: how to add one', async () => {
  renameSync(path.join(directory, '1'), path.join(directory, '.1'))
  expect(await problems()).toEqual([
    expect.stringMatching(/there is no version of the model order-risk yet\. Add one as a folder/),
  ])
})

test('a model that does not fit: what differs', async () => {
  edit((manifest) => {
    manifest['name'] = 'order-risc'
    manifest.output['tensor'] = 'scores'
    manifest.input.features[0] = { name: 'sum', type: 'float32' }
    manifest.input.features[3] = { name: 'channel', type: 'category', values: ['STORE', 'WEB', 'PHONE'] }
    manifest.input.features[6] = { name: 'gift', type: 'float32' }
  })
  expect(await problems()).toEqual([
    '1/manifest.json: name: the model is order-risc, the pipeline uses order-risk',
    '1/manifest.json: input.features: the model has no feature amount',
    '1/manifest.json: input.features: the model expects a feature sum that the pipeline lacks',
    '1/manifest.json: input.features: the values of category channel differ: value 0 is WEB in the pipeline and STORE in the model',
    '1/manifest.json: input.features: feature gift is flag in the pipeline and float32 in the model',
    "1/manifest.json: output.tensor: the model's output is scores, the pipeline reads probabilities",
  ])
})

test('a model with the features in another order', async () => {
  edit((manifest) => manifest.input.features.splice(0, 2, ...manifest.input.features.slice(0, 2).reverse()))
  expect(await problems()).toEqual([
    '1/manifest.json: input.features: the order differs: feature 0 is amount in the pipeline and items in the model',
  ])
})

test('an output that the model does not have', async () => {
  pipeline = { ...pipeline, model: { ...pipeline.model, output: { tensor: 'probabilities', index: 3 } } }
  expect(await problems()).toEqual([
    '1/manifest.json: output.width: the pipeline reads output 3, the model has 3, counted from 0',
  ])
})

test('of several output tensors the pipeline must name one, and an output within it', async () => {
  edit((manifest) => {
    manifest.output = {
      tensors: [
        { name: 'label', width: 1 },
        { name: 'scores', width: 2 },
      ],
    }
  })
  expect(await problems()).toEqual([
    "1/manifest.json: output.tensors: the model's output is label, scores, the pipeline reads probabilities",
  ])
  pipeline = { ...pipeline, model: { ...pipeline.model, output: { tensor: 'scores', index: 2 } } }
  expect(await problems()).toEqual([
    '1/manifest.json: output.tensors[1].width: the pipeline reads output 2, the model has 2, counted from 0',
  ])
})

test('a version in a folder of another name, and a missing model file', async () => {
  edit((manifest) => {
    manifest['version'] = '7'
    manifest['file'] = 'gone.onnx'
  })
  expect(await problems()).toEqual([
    '1/manifest.json: version: version 7 is in a folder named 1',
    expect.stringMatching(/^1\/gone\.onnx: the model file cannot be read: ENOENT/),
  ])
})

test('everything that is wrong in a manifest is told, with its place', async () => {
  edit((manifest) => {
    manifest['sha256'] = 'abc'
    manifest['task'] = 'ranking'
    manifest['extra'] = 1
    manifest['file'] = '../model.onnx'
    manifest['training'] = { from: 'January', to: '2024-01-01', rows: 1 }
    manifest.input['missing'] = 'zero'
    manifest.input.features[1] = { name: 'amount', type: 'float32' }
    manifest.input.features[2] = { name: 'customer_days', type: 'category' }
    manifest.output['classes'] = ['accept', 'refuse']
    manifest.output['range'] = [1, 0]
    manifest.golden = [{ features: [1, null], outputs: [0.1, 'x', 0.2] }]
  })
  expect(await problems()).toEqual([
    '1/manifest.json: extra: unknown key (there are: name, version, file, sha256, task, input, output, golden, training, files, domains, tolerance)',
    '1/manifest.json: file: "../model.onnx" is not a file name in the same folder',
    '1/manifest.json: sha256: "abc" is not a SHA-256 in hex',
    '1/manifest.json: task: "ranking" is not one of binary, multiclass, regression, multi-output',
    '1/manifest.json: input.features[1].name: the feature amount is there twice',
    '1/manifest.json: input.features[2].values: a category needs its values',
    '1/manifest.json: input.missing: "zero" is not one of nan, refuse',
    '1/manifest.json: output.range: a range is two numbers, the lower first',
    '1/manifest.json: output.classes: there are 2 classes for 3 outputs',
    '1/manifest.json: training.from: "January" is not an ISO date',
    '1/manifest.json: golden[0].features: 2 numbers where 8 are expected',
    '1/manifest.json: golden[0].outputs[1]: "x" is not a finite number',
  ])
})

test('golden events are read, and refused with the place of what is wrong', async () => {
  const golden = readGolden(pipeline)
  expect(golden[0]?.expect).toMatchObject({ label: 'review' })
  expect(golden.at(-1)?.expect).toEqual({ reject: 'amount_out_of_range' })
  const file = path.join(directory, 'golden.json')
  const event = { amoun: 1 }
  const rows = [
    { event, expect: { features: [1], score: 'x' } },
    { event: {}, tables: { weather: {} }, expect: { reject: 1 } },
  ]
  writeFileSync(file, JSON.stringify(rows))
  expect(() => readGolden({ ...pipeline, folder: directory })).toThrow(
    new PipelineError([
      { file, path: '[0].event.amoun', message: 'there is no such field (did you mean amount?)' },
      { file, path: '[0].expect.features', message: '1 numbers, the pipeline has 8 features' },
      { file, path: '[0].expect.score', message: '"x" is not a finite number' },
      { file, path: '[1].tables.weather', message: 'there is no table weather' },
      { file, path: '[1].expect.reject', message: '1 is not a text that is not empty' },
    ]),
  )
})
