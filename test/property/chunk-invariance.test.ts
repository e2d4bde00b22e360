/** What becomes of a row depends on neither its neighbours nor the batch that it is in: on ONNX Runtime, and where rows take time. */
import fc from 'fast-check'
import { afterAll, expect, onTestFinished, test, vi } from 'vitest'
import { ModelRunError, type PreparedModel } from '../../inference/execution/executor.ts'
import { createInlineExecutor } from '../../inference/execution/inline-executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { replayRows } from '../../inference/execution/replay-rows.ts'
import { endsOf, isolatedModel, rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { CRASHING, FEATURES, ORDINARY, POISON, REFUSING } from '../support/onnx/hostile-models.ts'

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

/** Rows take as many ms as their first feature says, all together at most `limitMs`. */
function slowModel(limitMs: number): PreparedModel {
  return {
    manifest: versionOf(ORDINARY),
    async run(rows) {
      const firsts = rows.filter((_, at) => at % FEATURES === 0)
      const tookMs = firsts.reduce((sum, first) => sum + first, 0)
      await new Promise((resolve) => setTimeout(resolve, Math.min(tookMs, limitMs)))
      if (tookMs > limitMs) throw new ModelRunError('timeout', 'late')
      return { outputs: firsts, tookMs }
    },
    retire: () => Promise.resolve(),
  }
}

test('rows that are slow or hang end as they do alone, whatever is beside them', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const [model, look] = [slowModel(2_000), slowModel(250)]
  const quarantine = {
    warm: () => {},
    replay: (_: unknown, rows: Float32Array) => replayRows(model, () => Promise.resolve(look), rows),
    forget: () => {},
    close: () => Promise.resolve(),
  }
  const run = isolateRows({ model, provider: 'cpu', quarantine, expectedMs: () => 0 })
  const ends = async (firsts: readonly number[]) => {
    const result = run(rowsOf(firsts))
    await vi.runAllTimersAsync()
    return endsOf(await result)
  }
  const tookMs = fc.oneof({ weight: 3, arbitrary: fc.nat(50) }, fc.integer({ min: 50, max: 2_000 }), fc.constant(1e6))
  await fc.assert(
    fc.asyncProperty(fc.array(tookMs, { minLength: 1, maxLength: 12 }), async (firsts) => {
      const alone = []
      for (const first of firsts) alone.push(...(await ends([first])))
      expect(await ends(firsts)).toEqual(alone)
      expect(alone).toEqual(firsts.map((first) => (first <= 2_000 ? first : 'model_timeout')))
    }),
  )
})
