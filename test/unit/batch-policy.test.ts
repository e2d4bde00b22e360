import { expect, test } from 'vitest'
import {
  type BatchPolicyOptions,
  createBatchPolicy,
  LONGEST_SERIES,
  type QueueState,
} from '../../inference/batching/batch-policy.ts'
import { createCostFit } from '../../inference/batching/cost-fit.ts'

const TREES = { provider: 'cpu', fixedUs: 12.8, rowUs: 3.56, tail: 1.5 } as const
const NETWORK = { provider: 'cpu', fixedUs: 10, rowUs: 0.17, tail: 1.5 } as const

function policyOf(options: Partial<BatchPolicyOptions> & { readonly profile?: typeof TREES | typeof NETWORK } = {}) {
  return createBatchPolicy({
    fit: createCostFit(options.profile ?? TREES),
    budgetMs: 10,
    slots: 1,
    inline: true,
    width: 30,
    outputWidth: 2,
    packedBytes: 0,
    cacheBytes: 2 ** 19,
    bounds: { maxRows: 65_536, maxBytes: 2 ** 26 },
    ...options,
  })
}

const queue = (state: Partial<QueueState>): QueueState => ({
  now: 1_000,
  rows: 1,
  running: 0,
  since: 1_000,
  deadline: Number.POSITIVE_INFINITY,
  ...state,
})

test('a batch has eight times the rows that reach 90 % of the throughput, or what stays in the cache', () => {
  expect(policyOf().figures()).toMatchObject({ cap: 256, efficientRows: 33, overBudget: false })
  expect(policyOf({ profile: NETWORK }).figures()).toMatchObject({ cap: 2_048, efficientRows: 530 })
  expect(policyOf({ profile: NETWORK, cacheBytes: 2 ** 20 }).cap(1)).toBe(4_096)
  // 262,144 bytes / (128 of row and outputs + 152 that are packed)
  expect(policyOf({ profile: NETWORK, packedBytes: 152 }).cap(1)).toBe(936)
})

test('a batch of a forest has as many rows as are walked at a time, or so many times as many', () => {
  const capOf = (maxRows: number) => policyOf({ bounds: { maxRows, maxBytes: 2 ** 26 } }).cap(1)
  expect([127, 128, 129, 255, 257].map(capOf)).toEqual([127, 128, 128, 128, 256])
  expect(policyOf({ profile: NETWORK, bounds: { maxRows: 255, maxBytes: 2 ** 26 } }).cap(1)).toBe(255)
})

test('the budget bounds it: two runs, or three where one is handed over ahead', () => {
  // (0.5 / (2 · 1.5) − 0.0128) / 0.00356
  expect(policyOf({ budgetMs: 0.5 }).figures()).toMatchObject({ cap: 43, budgetRows: 43, overBudget: false })
  expect(policyOf({ budgetMs: 0.5, slots: 2 }).figures()).toMatchObject({ cap: 27, budgetRows: 27, overBudget: true })
  expect(policyOf({ budgetMs: 0.02 }).figures()).toMatchObject({ cap: 1, budgetRows: 0, overBudget: true })
})

test('rows, bytes and the event loop bound it', () => {
  expect(policyOf({ bounds: { maxRows: 20, maxBytes: 2 ** 20 } }).cap(1)).toBe(20)
  expect(policyOf({ bounds: { maxRows: 100, maxBytes: 10 * 32 * 4 } }).cap(1)).toBe(10)
  const heavy = createCostFit({ provider: 'cpu', fixedUs: 1_000, rowUs: 100, tail: 1 })
  expect(policyOf({ fit: heavy, budgetMs: 1_000 }).cap(1)).toBe(60)
  expect(policyOf({ fit: heavy, budgetMs: 1_000, inline: false }).cap(1)).toBe(640)
  expect(() => policyOf({ bounds: { maxRows: 0, maxBytes: 1 } })).toThrow(RangeError)
})

test('full batches are run in a series of 3 ms, or what the budget allows', () => {
  expect(policyOf({ profile: NETWORK }).seriesMs(10_000)).toBe(3)
  // 4 ms / (2 · 1.5)
  expect(policyOf({ profile: NETWORK, budgetMs: 4 }).seriesMs(10_000)).toBeCloseTo(1.333, 2)
  // all will be late
  expect(policyOf({ profile: NETWORK, budgetMs: 4 }).seriesMs(100_000)).toBe(3)
  // in a child they are handed over one by one
  expect(policyOf({ profile: NETWORK, inline: false }).seriesMs(100_000)).toBe(0)
})

test('of 64 full batches one tells what a row costs from what a run costs, also where four are a series', () => {
  const policy = policyOf({ profile: NETWORK })
  const caps: number[] = []
  while (caps.length < 128) {
    const cap = policy.cap(100_000)
    const count = policy.seriesMs(100_000) > 0 ? LONGEST_SERIES : 1
    for (let batch = 0; batch < count; batch++) {
      caps.push(cap)
      policy.ran(cap, cap, 'full', 0.01 + 0.00017 * cap, 'cpu')
    }
  }
  expect(caps.flatMap((cap, at) => (cap < 1_024 ? [at] : []))).toEqual([63, 127])
})

test('while runs take longer than they should, each batch is answered for itself', () => {
  const policy = policyOf({ profile: NETWORK })
  policy.ran(2_048, 2_048, 'full', 6, 'cpu')
  expect(policy.cap(1)).toBeLessThan(2_048)
  expect(policy.seriesMs(10_000)).toBe(0)
})

test('rows are late that take longer than the budget together', () => {
  const policy = policyOf({ profile: NETWORK, budgetMs: 4 })
  const cap = policy.cap(1)
  const batches = Math.floor(4 / (0.01 + 0.00017 * cap))
  expect(policy.isLate(batches * cap)).toBe(false)
  expect(policy.isLate((batches + 1) * cap)).toBe(true)
})

test('a queue that will be late anyway is emptied at the efficient size', () => {
  const policy = policyOf({ budgetMs: 0.1 })
  expect(policy.cap(5)).toBe(5)
  expect(policy.cap(1_000)).toBe(256)
})

test('runs over half the budget make batches smaller, full ones in time larger again', () => {
  const policy = policyOf({ budgetMs: 2 })
  for (let rows = 1; rows < 64; rows++) policy.ran(rows, 64, 'drained', 0.0128 + 0.00356 * rows, 'cpu')
  const before = policy.cap(1)
  policy.ran(before, before, 'full', 1.5, 'cpu')
  const smaller = policy.cap(1)
  expect(smaller).toBeLessThan(0.95 * before)
  for (let run = 0; run < 10; run++) policy.ran(smaller, smaller, 'full', 0.0128 + 0.00356 * smaller, 'cpu')
  expect(policy.cap(1)).toBeGreaterThan(smaller)
})

test('where memory did not suffice for so many rows, batches have half of them, and more again later', () => {
  const policy = policyOf({ profile: NETWORK })
  const caps = (from: number, seconds: number): readonly number[] =>
    Array.from({ length: seconds }, (_, second) => {
      policy.decide(queue({ now: 1_000 * (from + second) }))
      const cap = policy.cap(1)
      for (let run = 0; run < 20; run++) policy.ran(cap, cap, 'full', 0.01 + 0.00017 * cap, 'cpu')
      return cap
    })
  const [before] = caps(0, 1) as [number]
  policy.tooMany(before, 'cpu')
  const half = Math.floor(before / 2)
  expect(Math.max(...caps(0, 10))).toBe(half)
  expect(Math.max(...caps(10, 1))).toBeGreaterThan(half)
  policy.tooMany(before, 'cpu')
  expect(Math.max(...caps(10, 20))).toBe(half)
  expect(Math.max(...caps(30, 1))).toBeGreaterThan(half)
  policy.tooMany(1, 'cpu')
  expect(Math.max(...caps(30, 40))).toBe(1)
  expect(Math.max(...caps(70, 40 * 12))).toBe(before)
})

test('a small one that takes long makes the others no smaller', () => {
  const policy = policyOf({ budgetMs: 2 })
  for (let run = 0; run < 63; run++) policy.ran(64, 64, 'full', 0.0128 + 0.00356 * 64, 'cpu')
  const probe = policy.cap(1)
  expect(probe).toBeLessThan(8)
  policy.ran(probe, probe, 'full', 1.5, 'cpu')
  expect(policy.cap(1)).toBeGreaterThan(32)
})

test('one full batch in 64 is small, to tell what is fixed from what is not', () => {
  const policy = policyOf()
  const caps = Array.from({ length: 128 }, () => {
    const cap = policy.cap(1)
    policy.ran(cap, cap, 'full', 0.0128 + 0.00356 * cap, 'cpu')
    return cap
  })
  expect(caps.filter((cap) => cap < 50)).toEqual([4, 4])
})

test('what is queued is run, in a second slot only what is efficient', () => {
  const policy = policyOf()
  expect(policy.decide(queue({ rows: 1 }))).toBe('drained')
  expect(policy.decide(queue({ rows: 258 }))).toBe('full')
  expect(policy.decide(queue({ rows: 20, running: 1 }))).toBe(Number.POSITIVE_INFINITY)
  expect(policy.decide(queue({ rows: 40, running: 1 }))).toBe('drained')
})

/** Rows come one by one, ten a millisecond, and are run at once. */
function busyPolicy(rowsPerMs: number, options: Partial<BatchPolicyOptions> = {}) {
  const policy = policyOf({ profile: NETWORK, ...options })
  for (let ms = 0; ms <= 200; ms += 10) {
    for (let row = 0; row < 10 * rowsPerMs; row++) policy.arrived(1)
    policy.decide(queue({ now: ms }))
  }
  return policy
}

test('a busy thread with small batches waits for more, by a tenth of the budget', () => {
  const policy = busyPolicy(100)
  expect(policy.decide(queue({ now: 210, since: 210 }))).toBe(211)
  expect(policy.decide(queue({ now: 211, since: 210 }))).toBe('linger')
  expect(policy.decide(queue({ now: 210, since: 210, rows: 600 }))).toBe('drained')
  expect(policy.figures().lingerMs).toBe(1)
})

test('it does not wait past what the deadline leaves, nor when the thread is idle, nor when told not to', () => {
  const policy = busyPolicy(100)
  const late = policy.decide(queue({ now: 210, since: 210, deadline: 211.5 }))
  expect(late).toBeGreaterThan(210.4)
  expect(late).toBeLessThan(210.5)
  expect(policy.decide(queue({ now: 210.6, since: 210, deadline: 211.5 }))).toBe('deadline')
  expect(busyPolicy(10).decide(queue({ now: 210, since: 210 }))).toBe('drained')
  expect(busyPolicy(100, { maxLingerMs: 0 }).decide(queue({ now: 210, since: 210 }))).toBe('drained')
})

test('what the thread does besides counts', () => {
  let active = 0
  const policy = policyOf({ profile: NETWORK, activeMs: () => active })
  for (let ms = 0; ms <= 300; ms += 10) {
    active = 0.8 * ms
    for (let row = 0; row < 100; row++) policy.arrived(1)
    policy.decide(queue({ now: ms }))
  }
  expect(policy.decide(queue({ now: 310, since: 310 }))).toBe(311)
})

test('waits that bring no more rows are given up', () => {
  const policy = busyPolicy(100)
  for (let wait = 0; wait < 16; wait++) {
    expect(policy.decide(queue({ now: 210 + wait, since: 210 + wait }))).toBeTypeOf('number')
    policy.ran(1, 1_058, 'linger', 0.01, 'cpu')
  }
  expect(policy.decide(queue({ now: 230, since: 230 }))).toBe('drained')
})
