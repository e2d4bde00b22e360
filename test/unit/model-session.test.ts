import { expect, onTestFinished, test } from 'vitest'
import { ModelRunError } from '../../inference/execution/executor.ts'
import { type ModelSession, openModelSession } from '../../inference/models/model-session.ts'
import { float32, type ModelVersion, versionOf } from '../support/model-version.ts'
import {
  BOTH_OUTPUTS,
  CLASSES,
  EMBEDDING,
  embedded,
  LINEAR,
  linear,
  linearBatch,
  softmax,
} from '../support/shaped-models.ts'

async function open(version: ModelVersion): Promise<ModelSession> {
  const session = await openModelSession(versionOf(version))
  onTestFinished(() => session.release())
  return session
}

/** Rows [count, width] of small whole numbers that differ. */
const rowsOf = (count: number, width: number): number[][] =>
  Array.from({ length: count }, (_, row) =>
    Array.from({ length: width }, (_, column) => ((row + 1) * (column + 2)) % 7),
  )

const matrix = (rows: readonly (readonly number[])[]): Float32Array => Float32Array.from(rows.flat())

async function failure(run: Promise<unknown>): Promise<ModelRunError> {
  const error: unknown = await run.then(
    () => null,
    (reason: unknown) => reason,
  )
  if (error instanceof ModelRunError) return error
  throw new Error(`no ModelRunError: ${String(error)}`)
}

test('one float32 input and one float32 output are passed on as they are', async () => {
  const session = await open(LINEAR)
  const rows = rowsOf(5, 2)
  expect([...(await session.run(matrix(rows)))]).toEqual(rows.map(([a = 0, b = 0]) => linear(a, b)))
  expect(await session.run(new Float32Array())).toHaveLength(0)
})

test('several inputs get the columns of their features, int64 as whole numbers', async () => {
  const session = await open(EMBEDDING)
  const rows = rowsOf(9, 3).map(([a = 0, id = 0, b = 0]) => [a, id % 4, b])
  const expected = rows.map(([a = 0, id = 0, b = 0]) => embedded(a, id, b))
  expect([...(await session.run(matrix(rows)))]).toEqual(expected)
  // fewer rows than the buffers hold by now
  expect([...(await session.run(matrix(rows.slice(0, 2))))]).toEqual(expected.slice(0, 2))
})

test('runs that are under way at once do not share buffers', async () => {
  const session = await open(EMBEDDING)
  const batches = [1, 2, 3, 4].map((count) => rowsOf(count, 3).map(([a = 0, id = 0, b = 0]) => [a + count, id % 4, b]))
  const answers = await Promise.all(batches.map((rows) => session.run(matrix(rows))))
  expect(answers.map((answer) => [...answer])).toEqual(
    batches.map((rows) => rows.map(([a = 0, id = 0, b = 0]) => embedded(a, id, b))),
  )
})

test.each([0, 1, 3, 4, 5, 8, 9])('%i rows for a model that takes four at a time', async (count) => {
  const session = await open(linearBatch(4))
  const rows = rowsOf(count, 2)
  expect([...(await session.run(matrix(rows)))]).toEqual(rows.map(([a = 0, b = 0]) => linear(a, b)))
})

test('several classes', async () => {
  const session = await open(CLASSES)
  const rows = rowsOf(4, 2)
  const answer = await session.run(matrix(rows))
  for (const [at, value] of rows.flatMap(([a = 0, b = 0]) => softmax(a, b)).entries()) {
    expect(answer[at]).toBeCloseTo(value, 6)
  }
})

test('the outputs of several tensors lie side by side, int64 as float32', async () => {
  const session = await open(BOTH_OUTPUTS)
  expect(session.manifest.output.width).toBe(4)
  const rows = rowsOf(4, 2)
  const answer = await session.run(matrix(rows))
  for (const [row, [a = 0, b = 0]] of rows.entries()) {
    const expected = softmax(a, b)
    const [label, ...probabilities] = [...answer.subarray(row * 4, row * 4 + 4)].toReversed()
    expect(label).toBe(expected.indexOf(Math.max(...expected)))
    for (const [at, value] of probabilities.toReversed().entries()) expect(value).toBeCloseTo(expected[at] ?? 9, 6)
  }
})

test('an int64 output that float32 does not hold is the fault of its row', async () => {
  const session = await open({
    ...LINEAR,
    model: {
      nodes: [
        { operator: 'Cast', inputs: ['x'], outputs: ['whole'], attributes: { to: 7 } },
        { operator: 'Add', inputs: ['whole', 'one'], outputs: ['y'] },
      ],
      weights: [{ name: 'one', shape: [1], values: BigInt64Array.of(1n) }],
      input: { name: 'x', width: null },
      output: { name: 'y', width: null, type: 'int64' },
    },
    input: { tensor: 'x', features: float32('a') },
    golden: [{ features: [-3], outputs: [-2] }],
  })
  expect([...(await session.run(Float32Array.of(2 ** 24 - 1, 7, -9)))]).toEqual([2 ** 24, 8, -8])
  expect(await failure(session.run(Float32Array.of(2 ** 24)))).toMatchObject({
    fault: 'rows',
    message: 'output y: 16777217 cannot be a float32 without losing digits',
  })
})

test('what the runtime refuses to do with a row is the row’s fault', async () => {
  const session = await open(EMBEDDING)
  expect(await failure(session.run(Float32Array.of(1, 9, 1)))).toMatchObject({
    fault: 'rows',
    message: expect.stringContaining('indices element out of data bounds, idx=9'),
  })
  expect(await failure(session.run(Float32Array.of(1, 0.5, 1)))).toMatchObject({ fault: 'rows' })
  expect([...(await session.run(Float32Array.of(1, 2, 1)))]).toEqual([embedded(1, 2, 1)])
})

test('memory that is not to be had is told apart', async () => {
  const session = await open({
    ...LINEAR,
    model: {
      nodes: [
        { operator: 'Cast', inputs: ['x'], outputs: ['sizes'], attributes: { to: 7 } },
        { operator: 'ReduceMax', inputs: ['sizes'], outputs: ['size'], attributes: { keepdims: 0 } },
        { operator: 'Reshape', inputs: ['size', 'first'], outputs: ['shape'] },
        { operator: 'Expand', inputs: ['one', 'shape'], outputs: ['large'] },
        { operator: 'ReduceMax', inputs: ['large'], outputs: ['most'], attributes: { keepdims: 1 } },
        { operator: 'Add', inputs: ['x', 'most'], outputs: ['y'] },
      ],
      weights: [
        { name: 'one', shape: [1], values: Float32Array.of(1) },
        { name: 'first', shape: [1], values: BigInt64Array.of(1n) },
      ],
      input: { name: 'x', width: null },
      output: { name: 'y', width: null },
    },
    input: { tensor: 'x', features: float32('a') },
    golden: [{ features: [2], outputs: [3] }],
  })
  expect(await failure(session.run(Float32Array.of(2 ** 40)))).toMatchObject({ fault: 'allocation' })
  expect([...(await session.run(Float32Array.of(3)))]).toEqual([4])
})

test('a provider that is not there is no fault of the model', async () => {
  const error: unknown = await openModelSession(versionOf(LINEAR), 'cuda').then(
    (session) => session.release(),
    (reason: unknown) => reason,
  )
  // where there is a GPU and its libraries, the model runs on it
  if (error !== undefined) expect(error).toMatchObject({ code: 'provider_missing', fate: 'crash' })
})
