/** Rows of a replay, one by one, by a child that has the last word and another that helps. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { ModelRunError, type PreparedModel } from '../../inference/execution/executor.ts'
import { replayRows } from '../../inference/execution/replay-rows.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { ORDINARY } from '../support/onnx/hostile-models.ts'

const FULL_MS = 2_000
const LOOK_MS = 250

/** Its rows take as many ms as their first feature says, and score that; `most` are the rows that were long at once. */
function children() {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const manifest = versionOf(ORDINARY)
  const asked: Record<'first' | 'another', number[]> = { first: [], another: [] }
  let running = 0
  let most = 0
  const child = (name: keyof typeof asked, limitMs: number): PreparedModel => ({
    manifest,
    async run(rows) {
      const tookMs = rows[0] ?? Number.NaN
      asked[name].push(tookMs)
      const isLong = tookMs > LOOK_MS && limitMs === FULL_MS
      if (isLong) most = Math.max(most, ++running)
      await new Promise((resolve) => setTimeout(resolve, Math.min(tookMs, limitMs)))
      if (isLong) running--
      if (tookMs > limitMs) throw new ModelRunError('timeout', 'late')
      return { outputs: rows.subarray(0, 1), tookMs }
    },
    retire: () => Promise.resolve(),
  })
  return { first: child('first', FULL_MS), another: child('another', LOOK_MS), asked, most: () => most }
}

async function replayed(rows: readonly number[], first: PreparedModel, another: PreparedModel | null) {
  const since = Date.now()
  const replaying = replayRows(first, () => Promise.resolve(another), rowsOf(rows))
  await vi.runAllTimersAsync()
  const { outputs, failures, tookMs } = await replaying
  return {
    ends: [...outputs].map((output, row) => failures.get(row)?.reason ?? output),
    tookMs,
    ms: Date.now() - since,
  }
}

const HANGS = 1e6

test('a row that hangs keeps its child, and another one answers the rows behind it meanwhile', async () => {
  const { first, another, asked } = children()
  const { ends, tookMs } = await replayed([1, 2, HANGS, 3, 4, 5], first, another)
  expect(ends).toEqual([1, 2, 'model_timeout', 3, 4, 5])
  expect(asked).toEqual({ first: [1, 2, HANGS], another: [3, 4, 5] })
  expect(tookMs).toBe(15)
})

test('rows that are slow have the time beside rows that hang that they have alone, one after another', async () => {
  const { first, another, most } = children()
  const rows = [HANGS, 400, 1_900, HANGS, 1, 1_500]
  expect((await replayed(rows, first, another)).ends).toEqual(['model_timeout', 400, 1_900, 'model_timeout', 1, 1_500])
  expect(most()).toBe(1)
})

test('where many are slow the other one leaves them to the first', async () => {
  const { first, another, asked } = children()
  const rows = Array.from({ length: 20 }, () => 1_200)
  expect((await replayed(rows, first, another)).ends).toEqual(rows)
  expect(asked.another).toHaveLength(4)
})

test('a row that ends the other one, which is not late, is to blame', async () => {
  const { first, another } = children()
  const crashing = { ...another, run: () => Promise.reject(new ModelRunError('crash', 'the child was ended')) }
  expect((await replayed([HANGS, 1], first, crashing)).ends).toEqual(['model_timeout', 'model_crash'])
})

test('where no other child can be had, or it is lost, the first one answers all rows', async () => {
  const { first, another } = children()
  expect((await replayed([HANGS, 3, 4], first, null)).ends).toEqual(['model_timeout', 3, 4])
  const lost = { ...another, run: () => Promise.reject(retryable('model_unavailable', 'it is gone')) }
  expect((await replayed([HANGS, 3, 4], first, lost)).ends).toEqual(['model_timeout', 3, 4])
})

test('what is no failure of a run is handed on', async () => {
  const { first } = children()
  const gone = retryable('model_unavailable', 'it is gone')
  const lost = { ...first, run: () => Promise.reject(gone) }
  await expect(replayRows(lost, () => Promise.resolve(null), rowsOf([1, 2]))).rejects.toBe(gone)
})
