import { expect, test } from 'vitest'
import { microBatches } from '../../inference/batching/micro-batch.ts'
import { runRows } from '../../inference/batching/run-rows.ts'
import type { LoadedModel } from '../../inference/models/load-model.ts'
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
    range: [0, 1],
    classes: ['low', 'middle', 'high'],
  },
  featureSet: { digest: 'd', features: [] },
  golden: [],
  tolerance: 1e-5,
  files: [],
  domains: [''],
  training: null,
}

/** Answers [first feature, 0, 0] and fails on runs with a row whose second feature is 666. */
function fussyModel(healthy = true): LoadedModel & { readonly runs: number[] } {
  const runs: number[] = []
  return {
    manifest: MANIFEST,
    width: 2,
    runs,
    async run(rows) {
      runs.push(rows.length / 2)
      const outputs = new Float32Array((rows.length / 2) * 3)
      for (let row = 0; row < rows.length / 2; row++) {
        if (rows[row * 2 + 1] === 666) throw new Error('index out of range')
        outputs[row * 3] = rows[row * 2] as number
      }
      return outputs
    },
    answers: async () => healthy,
    release: async () => {},
  }
}

const tensorOf = (seconds: readonly number[]) => Float32Array.from(seconds.flatMap((second, at) => [at, second]))

test('rows are answered in one run', async () => {
  const model = fussyModel()
  const results = await runRows(model, tensorOf([0, 0, 0]))
  expect(results.map((result) => result.ok && [result.outputs[0], result.batchRows])).toEqual([
    [0, 3],
    [1, 3],
    [2, 3],
  ])
  expect(model.runs).toEqual([3])
})

test.each([[[666]], [[0, 666]], [[0, 0, 666, 0, 0, 0, 0]], [[666, 0, 0, 666, 0, 666, 666, 0]], [[666, 666, 666]]])(
  'only the rows that the model fails on alone are given up: %j',
  async (seconds) => {
    const results = await runRows(fussyModel(), tensorOf(seconds))
    expect(results.map((result) => (result.ok ? result.outputs[0] : result.message))).toEqual(
      seconds.map((second, at) => (second === 666 ? 'index out of range' : at)),
    )
  },
)

test('one bad row of 512 costs some twenty runs', async () => {
  const model = fussyModel()
  await runRows(model, tensorOf(Array.from({ length: 512 }, (_, at) => (at === 77 ? 666 : 0))))
  expect(model.runs.length).toBeLessThanOrEqual(19)
})

test('a model that no longer answers a row that it knows is not the rows’ fault', async () => {
  await expect(runRows(fussyModel(false), tensorOf([0, 666]))).rejects.toMatchObject({
    fate: 'crash',
    code: 'model_failed',
  })
})

test('rows of all partitions are packed by model, up to a cap', () => {
  const [one, other] = [fussyModel(), fussyModel()]
  const rows = [one, other, one, one].map((model, subject) => ({ model, features: [subject, -subject], subject }))
  const batches = microBatches(rows, 2)
  expect(batches.map(({ subjects }) => subjects)).toEqual([[0, 2], [3], [1]])
  expect(batches.map(({ model }) => model === one)).toEqual([true, true, false])
  expect([...(batches[0]?.tensor ?? [])]).toEqual([0, -0, 2, -2])
})

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
  const unbounded = { ...MANIFEST, output: { ...MANIFEST.output, range: null } }
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
