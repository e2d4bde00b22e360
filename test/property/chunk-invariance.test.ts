/** On ONNX Runtime: what becomes of a row depends on neither its neighbours nor the batch that it is in. */
import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { createInlineExecutor } from '../../inference/execution/inline-executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { endsOf, isolatedModel, rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { CRASHING, POISON, REFUSING } from '../support/onnx/hostile-models.ts'

const executor = createInlineExecutor({ provider: 'cpu' })
afterAll(() => executor.close())

/** Batches of first features; one in eight is no row of the table. */
const batches = fc.array(
  fc.array(fc.oneof({ weight: 7, arbitrary: fc.nat(99) }, fc.integer({ min: 100, max: 2 ** 20 })), {
    minLength: 1,
    maxLength: 60,
  }),
  { minLength: 1, maxLength: 4 },
)

test('rows that a model refuses are found whatever is beside them', async () => {
  const model = await executor.prepare(versionOf(REFUSING))
  const run = isolateRows({ model, provider: 'cpu', quarantine: null, expectedMs: () => 0 })
  await fc.assert(
    fc.asyncProperty(batches, async (firsts) => {
      const expected = firsts.flat().map((first) => (first < 100 ? first + 1 : 'model_error'))
      const apart = []
      for (const batch of firsts) apart.push(...endsOf(await run(rowsOf(batch))))
      expect(apart).toEqual(expected)
      expect(endsOf(await run(rowsOf(firsts.flat())))).toEqual(expected)
    }),
    { numRuns: 100 },
  )
})

test('rows that end the process are found whatever is beside them', async () => {
  const { run } = await isolatedModel(CRASHING)
  const first = fc.oneof({ weight: 10, arbitrary: fc.integer({ min: 20, max: 100 }) }, fc.constant(POISON))
  await fc.assert(
    fc.asyncProperty(fc.array(first, { minLength: 1, maxLength: 40 }), async (firsts) => {
      const ends = endsOf(await run(rowsOf(firsts)))
      const expected = firsts.map((one) => (one === POISON ? 'model_crash' : Math.fround((one + 5) / 3)))
      expect(ends).toEqual(expected.map((end) => (typeof end === 'string' ? end : expect.closeTo(end, 4))))
    }),
    { numRuns: 5 },
  )
})
