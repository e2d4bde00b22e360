import { symlinkSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { readModelManifest, verifyModelFile } from '../../schemas/pipeline/manifest.ts'
import { formatProblem, PipelineError } from '../../schemas/pipeline/problems.ts'
import { float32, type ModelVersion, versionOf, writeVersion } from '../support/model-version.ts'
import { BOTH_OUTPUTS, EMBEDDING, LINEAR, linearBatch } from '../support/shaped-models.ts'

test('what a manifest leaves out has a default', () => {
  const manifest = versionOf(LINEAR)
  expect(manifest).toMatchObject({ files: [], tolerance: 1e-5, domains: ['', 'ai.onnx', 'ai.onnx.ml'] })
  expect(manifest.input).toMatchObject({
    tensors: [{ name: 'x', type: 'float32', columns: [0, 1] }],
    ranges: [null, null],
    batch: null,
  })
  expect(manifest.output).toMatchObject({ tensors: [{ name: 'y', width: 1, offset: 0 }], width: 1 })
})

test('several inputs know the columns of their features, several outputs their place in the row', () => {
  const { input } = versionOf(EMBEDDING)
  expect(input.tensors).toEqual([
    { name: 'dense', type: 'float32', columns: [2, 0] },
    { name: 'id', type: 'int64', columns: [1] },
  ])
  expect(input.ranges).toEqual([null, [0, 3], null])
  expect(versionOf(BOTH_OUTPUTS).output.tensors).toEqual([
    { name: 'probabilities', width: 3, offset: 0 },
    { name: 'label', width: 1, offset: 3 },
  ])
  expect(versionOf(linearBatch(4)).input.batch).toBe(4)
})

/** What is wrong with the manifest, without the file's name. */
function problems(version: ModelVersion): readonly string[] {
  const folder = writeVersion(version)
  try {
    readModelManifest(folder)
    return []
  } catch (error) {
    if (!(error instanceof PipelineError)) throw error
    return error.problems.map((problem) =>
      formatProblem(problem).replace(`${path.join(folder, 'manifest.json')}: `, ''),
    )
  }
}

const REFUSED: readonly (readonly [what: string, version: ModelVersion, expected: readonly string[]])[] = [
  ['no input', { ...LINEAR, input: { features: float32('a', 'b') } }, ['input.tensor: is missing']],
  [
    'both forms of inputs and outputs',
    { ...EMBEDDING, input: { ...EMBEDDING.input, tensor: 'x' }, output: { ...BOTH_OUTPUTS.output, tensor: 'y' } },
    [
      'input.tensor: tensors stands for it: give one of them',
      'output.tensor: tensors stands for it: give one of them',
      'golden[0].outputs: 1 numbers where 4 are expected',
    ],
  ],
  [
    'features in no input, in two, and unknown',
    {
      ...EMBEDDING,
      input: {
        ...EMBEDDING.input,
        tensors: [
          { name: 'dense', type: 'float32', features: ['a', 'c'] },
          { name: 'dense', type: 'double', features: ['a'] },
          { name: 'id', type: 'int64', features: ['a'] },
          { name: 'id', type: 'int64', features: [] },
        ],
      },
    },
    [
      'input.tensors[0].features[1]: there is no feature c in input.features',
      'input.tensors[1].type: "double" is not one of float32, int64',
      'input.tensors[2].features[0]: the feature a is in an input already',
      'input.tensors[3].name: the input id is there twice',
      'input.tensors[3].features: an input needs at least one feature',
      'input.tensors: no input holds kind, b',
    ],
  ],
  [
    'a range the wrong way round, and a batch of none',
    {
      ...LINEAR,
      input: { tensor: 'x', batch: 0, features: [{ name: 'a', type: 'float32', min: 2, max: 1 }, ...float32('b')] },
    },
    ['input.features[0].max: it is below the minimum, 2', 'input.batch: 0 is not a whole number above 0'],
  ],
  [
    'an output twice',
    {
      ...BOTH_OUTPUTS,
      output: {
        tensors: [
          { name: 'label', width: 3 },
          { name: 'label', width: 1 },
        ],
      },
    },
    ['output.tensors[1].name: the output label is there twice'],
  ],
  [
    'files outside the folder, or twice',
    {
      ...LINEAR,
      more: {
        tolerance: -1,
        files: ['../w.bin', '/w.bin', 'a//b', 'a/../../b', 'C:w', 'model.onnx', 'w.bin', 'w.bin'].map((one) => ({
          path: one,
          sha256: '0'.repeat(64),
        })),
      },
    },
    [
      'files[0].path: "../w.bin" is not a path inside the folder of the version, relative to it',
      'files[1].path: "/w.bin" is not a path inside the folder of the version, relative to it',
      'files[2].path: "a//b" is not a path inside the folder of the version, relative to it',
      'files[3].path: "a/../../b" is not a path inside the folder of the version, relative to it',
      'files[4].path: "C:w" is not a path inside the folder of the version, relative to it',
      'files[5].path: model.onnx is there twice',
      'files[7].path: w.bin is there twice',
      'tolerance: -1 is not a number, 0 or above',
    ],
  ],
]

test.each(REFUSED)('%s: told with its place', (_what, version, expected) => {
  expect(problems(version)).toEqual(expected)
})

test('a file reached through a link that stays in the folder is fine', async () => {
  const folder = writeVersion({ ...LINEAR, beside: { 'data/w.bin': Buffer.from('w') } })
  symlinkSync('data', path.join(folder, 'link'))
  const manifest = readModelManifest(folder)
  const linked = { ...manifest, files: manifest.files.map((file) => ({ ...file, path: 'link/w.bin' })) }
  expect((await verifyModelFile(linked)).length).toBeGreaterThan(0)
})
