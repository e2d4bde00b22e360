import { appendFileSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openModelSession } from '../../inference/models/model-session.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { digestOf, float32, type ModelVersion, versionOf, writeVersion } from '../support/model-version.ts'
import { BOTH_OUTPUTS, CLASSES, EMBEDDING, LINEAR, linear, linearBatch } from '../support/shaped-models.ts'

const REFUSED: readonly (readonly [what: string, version: ModelVersion, message: string])[] = [
  [
    'an input of another name',
    { ...LINEAR, input: { ...LINEAR.input, tensor: 'z' } },
    'input.tensor: z is expected, the model has x',
  ],
  [
    'an input that no feature is for',
    {
      ...EMBEDDING,
      input: { tensor: 'dense', features: float32('a', 'b') },
      golden: [{ features: [1, 1], outputs: [0] }],
    },
    'input.tensor: the model also takes id, which no feature is for',
  ],
  [
    'one of several inputs with another type',
    {
      ...EMBEDDING,
      input: {
        ...EMBEDDING.input,
        tensors: [
          { name: 'dense', type: 'float32', features: ['b', 'a'] },
          { name: 'id', type: 'float32', features: ['kind'] },
        ],
      },
    },
    'input.tensors[1].name: id must be float32, in the model it is int64',
  ],
  [
    'one of several inputs with another width',
    {
      ...EMBEDDING,
      input: {
        ...EMBEDDING.input,
        tensors: [
          { name: 'dense', type: 'float32', features: ['b'] },
          { name: 'id', type: 'int64', features: ['kind', 'a'] },
        ],
      },
    },
    'input.tensors[0].features: 1 per row are expected, in the model dense is [N, 2]',
  ],
  [
    'a fixed batch that the manifest does not know of',
    { ...linearBatch(4), input: LINEAR.input },
    'input.batch: the model has 4 rows in x, the manifest says any number',
  ],
  [
    'another fixed batch',
    { ...linearBatch(4), input: { ...LINEAR.input, batch: 8 } },
    'input.batch: the model has 4 rows in x, the manifest says 8',
  ],
  [
    'an output too narrow',
    { ...CLASSES, output: { tensor: 'probabilities', width: 2 }, golden: [{ features: [0, 0], outputs: [0, 0] }] },
    'output.width: 2 per row are expected, in the model probabilities is [N, 3]',
  ],
  [
    'one of several outputs missing',
    {
      ...BOTH_OUTPUTS,
      output: {
        tensors: [
          { name: 'probabilities', width: 3 },
          { name: 'score', width: 1 },
        ],
      },
    },
    'output.tensors[1].name: score is expected, the model has label, probabilities',
  ],
  [
    'a golden row that is answered otherwise',
    { ...LINEAR, golden: [{ features: [1, 1], outputs: [-1.0001] }] },
    'golden[0].outputs[0]: -1.0001 is expected, the model answers -1',
  ],
  [
    'a golden row that the manifest does not let through',
    { ...EMBEDDING, golden: [{ features: [1, 2.5, 1], outputs: [19] }] },
    'golden[0].features: feature kind is 2.5, the model takes whole numbers up to 16777216',
  ],
  [
    'operators of a domain that is not allowed',
    {
      ...LINEAR,
      model: {
        ...LINEAR.model,
        nodes: [{ operator: 'FusedMatMul', domain: 'com.microsoft', inputs: ['x', 'w'], outputs: ['y'] }],
      },
    },
    'domains: the model uses operators of com.microsoft, which are not allowed (, ai.onnx, ai.onnx.ml are)',
  ],
]

test.each(REFUSED)('%s is refused, naming file and field', async (_what, version, message) => {
  const manifest = versionOf(version)
  await expect(openModelSession(manifest)).rejects.toMatchObject({
    code: 'invalid_model',
    fate: 'crash',
    message: `${manifest.folder}/manifest.json: ${message}`,
  })
})

test('an allowed domain, and a golden row within the manifest’s own tolerance', async () => {
  const domain = 'com.microsoft'
  const nodes = [{ operator: 'FusedMatMul', domain, inputs: ['x', 'w'], outputs: ['y'] }]
  const golden = [{ features: [1, 1], outputs: [-1.0001] }]
  const more = { domains: ['', domain], tolerance: 1e-3 }
  const session = await openModelSession(versionOf({ ...LINEAR, model: { ...LINEAR.model, nodes }, golden, more }))
  expect([...(await session.run(Float32Array.of(3, 4)))]).toEqual([linear(3, 4)])
  await session.release()
})

const WEIGHTS = Buffer.from(Float32Array.of(2, -3).buffer)

/** With its weights in a file of that name. */
const apart = (external: string, beside: Record<string, Buffer>): ModelVersion => ({
  ...LINEAR,
  model: { ...LINEAR.model, weights: [{ name: 'w', shape: [2, 1], values: new Float32Array(2), external }] },
  beside,
})

test('weights in a file beside the model', async () => {
  const session = await openModelSession(versionOf(apart('data/w.bin', { 'data/w.bin': WEIGHTS })))
  expect([...(await session.run(Float32Array.of(3, 4)))]).toEqual([linear(3, 4)])
  await session.release()
})

test('weights that the manifest does not list are not read', async () => {
  await expect(openModelSession(versionOf(apart('w.bin', { 'other.bin': WEIGHTS })))).rejects.toThrow(
    'manifest.json: files: the model keeps weights in w.bin, which is not listed with its digest',
  )
  const outside = versionOf({ ...apart('../w.bin', { 'w.bin': WEIGHTS }) })
  await expect(openModelSession(outside)).rejects.toThrow('the model keeps weights in ../w.bin, which is not listed')
})

test('weights that were changed, are gone, or are a link out of the folder', async () => {
  const folder = writeVersion(apart('w.bin', { 'w.bin': WEIGHTS }))
  const manifest = readModelManifest(folder)
  const file = join(folder, 'w.bin')
  appendFileSync(file, 'x')
  await expect(openModelSession(manifest)).rejects.toThrow(`${file}: the file is not the one its manifest describes`)
  unlinkSync(file)
  await expect(openModelSession(manifest)).rejects.toThrow(`${file}: the file cannot be read: ENOENT`)
  const elsewhere = join(writeVersion(LINEAR), 'w.bin')
  writeFileSync(elsewhere, WEIGHTS)
  symlinkSync(elsewhere, file)
  await expect(openModelSession(manifest)).rejects.toMatchObject({
    code: 'invalid_model',
    message: `${file}: it is a link that leads out of the folder of its version`,
  })
})

test.each([
  ['no protocol buffer at all', Buffer.from('no model'), 'it is no ONNX model: wire type 6'],
  ['a cut one', null, 'it is no ONNX model: it ends within the field at byte '],
  ['an empty one', Buffer.alloc(0), 'ONNX Runtime cannot load it: '],
])('%s is refused although its digest fits', async (_what, bytes, message) => {
  const manifest = versionOf(LINEAR)
  const file = join(manifest.folder, manifest.file)
  const content = bytes ?? readFileSync(file).subarray(0, 60)
  writeFileSync(file, content)
  await expect(openModelSession({ ...manifest, sha256: digestOf(content) })).rejects.toThrow(`${file}: ${message}`)
})
