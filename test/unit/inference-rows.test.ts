import { expect, test } from 'vitest'
import { readOutputs } from '../../inference/read-outputs.ts'
import { vectorProblem } from '../../inference/vector-problem.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'

const MANIFEST: ModelManifest = {
  folder: '/models/1',
  name: 'm',
  version: '1',
  file: 'model.onnx',
  sha256: '0'.repeat(64),
  task: 'multiclass',
  input: {
    tensors: [{ name: 'x', type: 'float32', columns: [0, 1] }],
    features: [
      { name: 'a', type: 'float32' },
      { name: 'b', type: 'float32' },
    ],
    ranges: [null, null],
    missing: 'nan',
    batch: null,
  },
  output: {
    tensors: [{ name: 'y', width: 3, offset: 0 }],
    width: 3,
    ranges: [
      [0, 1],
      [0, 1],
      [0, 1],
    ],
    classes: ['low', 'middle', 'high'],
  },
  featureSet: { digest: 'd', features: [] },
  golden: [],
  tolerance: 1e-5,
  files: [],
  domains: [''],
  training: null,
}

const choice = (index: number | 'max'): CompiledModelChoice => ({
  name: 'm',
  alias: 'production',
  directory: '/models',
  output: { tensor: 'y', index },
  budgetMs: 20,
  deadlineMs: null,
  provider: { name: 'cpu', demand: 'require' },
  fallback: null,
})
const read = (row: readonly number[], index: number | 'max' = 'max', manifest = MANIFEST) =>
  readOutputs(manifest, choice(index), Float32Array.from(row))

test('the score is the output that the pipeline asks for, the label the class of the largest', () => {
  expect(read([0.25, 0.5, 0.125])).toEqual({
    ok: true,
    answer: { score: 0.5, label: 'middle', outputs: [0.25, 0.5, 0.125] },
  })
  expect(read([0.25, 0.5, 0.125], 2)).toMatchObject({ answer: { score: 0.125, label: 'middle' } })
  const nameless = { ...MANIFEST, output: { ...MANIFEST.output, classes: null } }
  expect(read([0.25, 0.5, 0.125], 0, nameless)).toMatchObject({ answer: { score: 0.25, label: null } })
})

test('an output that is not finite or outside the manifest’s range is a problem', () => {
  expect(read([0, Number.NaN, 0])).toMatchObject({ ok: false, problem: { reason: 'output_not_finite' } })
  expect(read([0, Number.POSITIVE_INFINITY, 0])).toMatchObject({ problem: { reason: 'output_not_finite' } })
  expect(read([0, 0, 1.001])).toMatchObject({
    problem: { reason: 'output_out_of_range', message: expect.stringContaining('y[2]') },
  })
  expect(read([-0.001, 0, 0])).toMatchObject({ problem: { reason: 'output_out_of_range' } })
  expect(read([0, 0, 1.0000001]).ok).toBe(true)
  const unbounded = { ...MANIFEST, output: { ...MANIFEST.output, ranges: [null, null, null] } }
  expect(read([0, 0, 1e30], 'max', unbounded).ok).toBe(true)
})

test('a vector must fit the model’s width and its policy for missing values', () => {
  const strict = { ...MANIFEST, input: { ...MANIFEST.input, missing: 'refuse' as const } }
  expect(vectorProblem(MANIFEST, [1, Number.NaN])).toBeNull()
  expect(vectorProblem(strict, [1, 2])).toBeNull()
  expect(vectorProblem(strict, [1, Number.NaN])).toMatchObject({
    reason: 'non_finite',
    message: 'feature b is missing, which the model does not take',
  })
  expect(vectorProblem(MANIFEST, [Number.NEGATIVE_INFINITY, 2])).toMatchObject({ reason: 'non_finite' })
  expect(vectorProblem(MANIFEST, [1])).toMatchObject({ reason: 'feature_width' })
})
