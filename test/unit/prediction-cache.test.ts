import { expect, test } from 'vitest'
import type { Provider, RunRows } from '../../inference/execution/run-rows.ts'
import { breakEvenHitRate, worthCaching } from '../../inference/models/prediction-cache/break-even.ts'
import { type CachedRowsOptions, cachedRows } from '../../inference/models/prediction-cache/cached-rows.ts'
import { createRowTable } from '../../inference/models/prediction-cache/row-table.ts'

const options = { width: 1, outputWidth: 1, maxBytes: 1_000_000 }

/** A model that answers ten times the feature and fails on 13; what it was run on. */
function cached(more: Partial<CachedRowsOptions> = {}) {
  const runs: number[][] = []
  const looked: number[][] = []
  const run: RunRows = async (rows) => {
    runs.push([...rows])
    const failures = new Map([...rows.entries()].filter(([, value]) => value === 13).map(([row]) => [row, FAILURE]))
    return { outputs: rows.map((value) => value * 10), batchRows: sizes(rows), failures, provider: 'cpu' }
  }
  const observer = { looked: (...counts: readonly number[]) => void looked.push([...counts]) }
  const ask = cachedRows({ ...options, run, observer, ...more })
  return { runs, looked, ask: (...values: readonly number[]) => ask(Float32Array.from(values)) }
}

const FAILURE = { reason: 'model_error', message: 'no' } as const
const sizes = (rows: Float32Array): Int32Array => new Int32Array(rows.length).fill(rows.length)

test('a row is computed once, within a batch and after it', async () => {
  const { ask, runs, looked } = cached()
  expect([...(await ask(1, 2, 1)).outputs]).toEqual([10, 20, 10])
  const second = await ask(2, 3, 3, 1)
  expect([...second.outputs]).toEqual([20, 30, 30, 10])
  expect(runs).toEqual([[1, 2], [3]])
  expect(looked).toEqual([
    [3, 0, 1],
    [4, 2, 1],
  ])
  // of each row: the run that answered it
  expect([...second.batchRows]).toEqual([2, 1, 1, 2])
  expect([...(await ask(1, 1)).outputs]).toEqual([10, 10])
  expect(runs).toHaveLength(2)
})

test('rows that are all new reach the model as they are, and its answer comes back as it is', async () => {
  const seen: unknown[] = []
  const answer = {
    outputs: new Float32Array(2),
    batchRows: new Int32Array(2),
    failures: new Map(),
    provider: 'cpu' as const,
  }
  const ask = cachedRows({
    ...options,
    run: async (rows) => {
      seen.push(rows)
      return answer
    },
    observer: { looked: () => {} },
  })
  const rows = Float32Array.of(1, 2)
  expect(await ask(rows)).toBe(answer)
  expect(seen).toEqual([rows])
  expect(seen[0]).toBe(rows)
})

test('a failure is told to every row like it, and is not kept', async () => {
  const { ask, runs } = cached()
  const { failures } = await ask(13, 1, 13)
  expect([...failures]).toEqual([
    [0, FAILURE],
    [2, FAILURE],
  ])
  expect((await ask(13)).failures.size).toBe(1)
  expect(runs).toEqual([[13, 1], [13]])
})

test('a run that rejects leaves nothing behind', async () => {
  let isDown = true
  const ask = cachedRows({
    ...options,
    run: async (rows) => {
      if (isDown) throw new Error('down')
      return { outputs: rows, batchRows: sizes(rows), failures: new Map(), provider: 'cpu' }
    },
    observer: { looked: () => {} },
  })
  await expect(ask(Float32Array.of(1))).rejects.toThrow('down')
  isDown = false
  expect([...(await ask(Float32Array.of(1))).outputs]).toEqual([1])
})

test('answers of two providers are never mixed', async () => {
  let provider: Provider = 'cpu'
  const runs: number[][] = []
  const ask = cachedRows({
    ...options,
    run: async (rows) => {
      runs.push([...rows])
      const outputs = rows.map((value) => (provider === 'cpu' ? value : -value))
      return { outputs, batchRows: sizes(rows), failures: new Map(), provider }
    },
    observer: { looked: () => {} },
  })
  await ask(Float32Array.of(1, 2))
  provider = 'cuda'
  const mixed = await ask(Float32Array.of(1, 3))
  expect([...mixed.outputs]).toEqual([-1, -3])
  expect(mixed.provider).toBe('cuda')
  expect(runs).toEqual([[1, 2], [3], [1, 3]])
  expect([...(await ask(Float32Array.of(3, 2))).outputs]).toEqual([-3, -2])
  expect(runs.at(-1)).toEqual([2])
})

test('runs may overlap', async () => {
  const { ask, runs } = cached()
  const [first, second] = await Promise.all([ask(1, 2), ask(2, 3)])
  expect([...first.outputs, ...second.outputs]).toEqual([10, 20, 20, 30])
  await ask(1, 2, 3)
  expect(runs).toHaveLength(2)
})

test('a full set loses rows that were not found again first', () => {
  const table = createRowTable({ width: 1, outputWidth: 1, maxBytes: 1 })
  const words = Int32Array.from({ length: 9 }, (_, value) => value)
  const put = (at: number): void => table.put(table.read(words, at), Float32Array.of(at), 0, 1)
  const has = (at: number): boolean => table.find(table.read(words, at)) >= 0
  for (let at = 0; at < 8; at++) put(at)
  for (const at of [0, 1, 2]) expect(has(at)).toBe(true)
  put(8)
  expect([0, 1, 2, 3, 8].map(has)).toEqual([true, true, true, false, true])
  table.clear()
  expect([0, 1, 2, 3, 8].some(has)).toBe(false)
})

test('a cache pays where the model costs more than looking', () => {
  expect(breakEvenHitRate(0.17, 30)).toBeGreaterThan(0.3)
  expect(breakEvenHitRate(24, 30)).toBeLessThan(0.05)
  expect(breakEvenHitRate(0, 30)).toBeGreaterThan(1)
  expect(worthCaching({ rowUs: 0.17 }, 30)).toBe(false)
  expect(worthCaching({ rowUs: 3.6 }, 30)).toBe(true)
})
