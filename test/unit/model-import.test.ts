import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { readExampleRows } from '../../inference/models/import/example-rows.ts'
import { importVersion, kindOfSource, type VersionImport } from '../../inference/models/import/import-version.ts'
import { onnxFileOfMlflow } from '../../inference/models/import/mlflow.ts'
import { DEFAULT_LIMITS } from '../../inference/models/probation/probation.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { FLIGHTS } from '../support/pipeline-copy.ts'

const MODEL_1 = path.join(FLIGHTS, 'models/1')

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'millrace-import-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
})

function write(name: string, text: string | Buffer): string {
  const file = path.join(folder, name)
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

async function imported(change: Partial<VersionImport> = {}) {
  const pipeline = await loadPipeline(FLIGHTS)
  const asked: VersionImport = {
    ...{ source: path.join(MODEL_1, 'model.onnx'), kind: 'onnx', pipeline, golden: null, limits: DEFAULT_LIMITS },
    ...{ version: null, task: null, missing: null, nextVersion: () => '7' },
    ...change,
  }
  const target = path.join(folder, 'version')
  await importVersion(asked, target)
  return readModelManifest(target)
}

test('an ONNX file and its pipeline tell everything that a hand-written manifest does', async () => {
  const { golden, version, training, ...manifest } = await imported()
  const { golden: _, version: __, training: ___, ...original } = readModelManifest(MODEL_1)
  expect({ ...manifest, folder: '' }).toEqual({ ...original, folder: '' })
  expect([version, training]).toEqual(['7', null])
  const events = JSON.parse(readFileSync(path.join(FLIGHTS, 'golden.json'), 'utf8'))
  const scored = events.flatMap(({ expect: wanted }: { expect: { score?: number } }) => wanted.score ?? [])
  expect(golden.map(({ outputs }) => outputs[1])).toEqual(scored.map((score: number) => expect.closeTo(score, 6)))
})

test('what the file says of itself counts, and options above it', async () => {
  const entry = (key: string, value: string): Buffer => {
    const parts = [key, value].map((text, at) =>
      Buffer.concat([Buffer.of(((at + 1) << 3) | 2, text.length), Buffer.from(text)]),
    )
    const content = Buffer.concat(parts)
    return Buffer.concat([Buffer.of((14 << 3) | 2, content.length), content])
  }
  const model = readFileSync(path.join(MODEL_1, 'model.onnx'))
  const said = [
    entry('millrace.version', '2026-11'),
    entry('millrace.missing', 'refuse'),
    entry('millrace.tolerance', '1e-4'),
  ]
  const source = write('said.onnx', Buffer.concat([model, ...said]))
  const rows = readModelManifest(MODEL_1).golden.filter(({ features }) => !features.includes(null))
  const golden = write('rows.json', JSON.stringify(rows.slice(0, 2)))
  expect(await imported({ source, golden })).toMatchObject({
    version: '2026-11',
    tolerance: 1e-4,
    input: { missing: 'refuse' },
    golden: rows.slice(0, 2),
  })
  rmSync(path.join(folder, 'version'), { recursive: true })
  expect(await imported({ source, golden, version: '3', missing: 'nan' })).toMatchObject({
    version: '3',
    input: { missing: 'nan' },
  })
})

test('example rows come as CSV, as lists and by name', () => {
  const names = ['a', 'b']
  const csv = write('rows.csv', 'b,a,output.0\n2,1,0.5\n,3,0.25\n')
  expect(readExampleRows(csv, names)).toEqual([
    { features: [1, 2], outputs: [0.5] },
    { features: [3, null], outputs: [0.25] },
  ])
  const json = write('rows.json', '[[1, null], {"b": true}, {"features": {"a": 4}, "outputs": [1]}]')
  expect(readExampleRows(json, names)).toEqual([
    { features: [1, null], outputs: null },
    { features: [null, 1], outputs: null },
    { features: [4, null], outputs: [1] },
  ])
  for (const [text, message] of [
    ['[[1]]', '[0].features: 2 numbers are expected'],
    ['[{"c": 1}]', 'there is no feature c'],
    ['[["x", 1]]', '"x" is no number'],
    ['{}', 'a list of rows is expected'],
    ['[]', 'has no rows'],
  ] as const) {
    expect(() => readExampleRows(write('bad.json', text), names)).toThrow(message)
  }
  expect(() => readExampleRows(write('bad.csv', 'a\n1\n'), names)).toThrow('no column for the feature b')
  expect(() => readExampleRows(write('bad.csv', 'a,b\n1,x\n'), names)).toThrow('line 2: 2 numbers are expected')
})

test('what cannot be imported is said', async () => {
  expect(kindOfSource(MODEL_1)).toBe('version')
  expect(() => kindOfSource(folder)).toThrow('is no ONNX file')
  await expect(imported({ source: write('x.onnx', 'x') })).rejects.toMatchObject({ code: 'invalid_import' })
  write('MLmodel', 'flavors:\n  sklearn:\n    pickled_model: model.pkl\n')
  expect(kindOfSource(folder)).toBe('mlflow')
  expect(() => onnxFileOfMlflow(folder)).toThrow('the flavour onnx is needed, there is sklearn')
  write('MLmodel', 'flavors:\n  onnx:\n    data: ../model.onnx\n')
  expect(() => onnxFileOfMlflow(folder)).toThrow('leads out of the folder')
})
