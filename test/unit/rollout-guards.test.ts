import { expect, test } from 'vitest'
import { createFailedVersions } from '../../inference/rollout/failed-versions.ts'
import { createGuards, type Guards } from '../../inference/rollout/guards.ts'
import { populationStability } from '../../inference/rollout/population-stability.ts'
import { WHOLE } from '../../inference/rollout/rollout-state.ts'
import { createScoreWindow, KEPT_SCORES, OCTAVES } from '../../inference/rollout/score-window.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { DEFAULT_GUARDS, type GuardLimits, type RolloutEntry } from '../../schemas/control/models.ts'
import { seededRandom } from '../support/seeded-random.ts'

// What takes a version out by itself, and what does not.

const BATCH = 50
const ROLLOUT = (guards: GuardLimits | null = DEFAULT_GUARDS): RolloutEntry => ({
  step: 'activated',
  lastEpoch: 2,
  active: {
    epoch: 2,
    production: '1',
    candidate: { version: '2', weight: 1_000, paused: false },
    shadow: null,
    guards,
  },
  previous: null,
  proposed: null,
  evidence: null,
})
const random = seededRandom(7).next

interface Behaviour {
  readonly failed?: number
  readonly invalid?: number
  readonly runMs?: number
  /** Rows of the runs that its batches were in. */
  readonly runRows?: number
  readonly score?: () => number
}

function feed(guards: Guards, version: string, rows: number, how: Behaviour = {}): void {
  const { failed = 0, invalid = 0, runMs = 0.5, runRows = BATCH, score = random } = how
  for (let at = 0; at < rows; at += BATCH) {
    guards.scored(version, Float32Array.from({ length: BATCH }, score), BATCH, failed, invalid, runMs, runRows)
  }
}

function judged(
  candidate: Behaviour,
  production: Behaviour = {},
  limits?: GuardLimits | null,
  rows = 1_000,
): string | null {
  const guards = createGuards()
  guards.judge(ROLLOUT(limits), 0)
  feed(guards, '1', rows, production)
  feed(guards, '2', rows, candidate)
  const found = guards.judge(ROLLOUT(limits), 1_000)
  return found === null ? null : `${found.version}: ${String(found.evidence['guard'])}`
}

test('a candidate like production stays', () => {
  expect(judged({})).toBe(null)
  expect(judged({ failed: 5, invalid: 5 }, { failed: 5, invalid: 5 })).toBe(null)
})

test('errors, unusable outputs, and slowness take it out', () => {
  expect(judged({ failed: 2 })).toBe('2: error_rate')
  expect(judged({ invalid: 2 })).toBe('2: invalid_rate')
  expect(judged({ runMs: 400 })).toBe('2: p99')
})

test('other scores take out a shadow that is shown what production answers, and nobody else', () => {
  const scores = { score: () => random() ** 3 }
  expect(judged(scores)).toBe(null)
  const shown = (share: number, weight: number | null): string | null => {
    const guards = createGuards()
    const candidate = weight === null ? null : { version: '3', weight, paused: false }
    const plan = { epoch: 2, production: '1', candidate, shadow: { version: '2', share }, guards: DEFAULT_GUARDS }
    const rollout: RolloutEntry = { ...ROLLOUT(), active: plan }
    guards.judge(rollout, 0)
    feed(guards, '1', 1_000)
    feed(guards, '2', 1_000, scores)
    const found = guards.judge(rollout, 1_000)
    return found === null ? null : `${found.version}: ${String(found.evidence['guard'])}`
  }
  expect(shown(WHOLE, null)).toBe('2: score_distribution')
  expect(shown(WHOLE, 0)).toBe('2: score_distribution')
  expect(shown(WHOLE / 2, null)).toBe(null)
  expect(shown(WHOLE, 100)).toBe(null)
})

test('a version is not slow because its runs are small, or large; one that is slow is, whatever their sizes', () => {
  /** 20 ms and 0.1 ms for each row, so many times. */
  const cost = (runRows: number, times = 1): Behaviour => ({
    runRows,
    runMs: (times * (20 + 0.1 * runRows) * BATCH) / runRows,
  })
  for (const own of [1, 2, 10, 64, 1_000, 20_000]) {
    for (const other of [1, 2, 10, 64, 1_000, 20_000]) {
      expect([own, other, judged(cost(own), cost(other))]).toEqual([own, other, null])
    }
  }
  expect(judged(cost(10, 6), cost(10))).toBe('2: p99')
  expect(judged(cost(64, 40), cost(10))).toBe('2: p99')
  expect(judged(cost(1, 100), cost(64))).toBe('2: p99')
})

test('nothing is judged before both have had enough rows, slow is slow above the floor only, and a limit of null is none', () => {
  expect(judged({ failed: BATCH }, {}, DEFAULT_GUARDS, DEFAULT_GUARDS.minRows - BATCH)).toBe(null)
  expect(judged({ runMs: 40 })).toBe(null)
  const none = { ...DEFAULT_GUARDS, errorRate: null, invalidRate: null, slowdown: null, psi: null }
  expect(judged({ failed: 9, invalid: 9, runMs: 400, score: () => 1 }, {}, none)).toBe(null)
  expect(judged({ failed: 9 }, {}, null)).toBe(null)
})

test('the evidence says what was seen', () => {
  const guards = createGuards()
  guards.judge(ROLLOUT(), 0)
  feed(guards, '1', 1_000)
  feed(guards, '2', 500, { failed: 5 })
  const expected = { version: '2', against: '1', guard: 'error_rate', value: 0.1, baseline: 0, limit: 0.02 }
  expect(guards.judge(ROLLOUT(), 2_500)?.evidence).toEqual({
    ...expected,
    rows: 500,
    baselineRows: 1_000,
    windowMs: 2_500,
  })
})

test('a window ends when its time is over and all have had enough rows', () => {
  const guards = createGuards()
  guards.judge(ROLLOUT(), 0)
  feed(guards, '1', 1_000)
  feed(guards, '2', 450)
  expect(guards.judge(ROLLOUT(), 70_000)).toBe(null)
  feed(guards, '2', 50)
  expect(guards.judge(ROLLOUT(), 71_000)).toBe(null)
  // the new one begins with nothing
  feed(guards, '1', 500)
  feed(guards, '2', 450, { failed: 9 })
  expect(guards.judge(ROLLOUT(), 72_000)).toBe(null)
  feed(guards, '2', 50)
  expect(guards.judge(ROLLOUT(), 73_000)?.version).toBe('2')
})

test('a production that was just activated is measured by the rates of the one before it, for a while', () => {
  const plan = { epoch: 1, production: '1', candidate: null, shadow: null, guards: DEFAULT_GUARDS }
  const before: RolloutEntry = { ...ROLLOUT(), active: plan }
  const after: RolloutEntry = { ...before, active: { ...plan, epoch: 2, production: '2' }, previous: plan }
  const run = (own: Behaviour, other: Behaviour, at: number, rows = 1_000): string | undefined => {
    const guards = createGuards()
    guards.judge(before, -70_000)
    feed(guards, '1', rows, other)
    // the window before may be just over
    if (rows > 1_000) guards.judge(before, 0)
    guards.judge(after, 0)
    feed(guards, '2', 1_000, own)
    return guards.judge(after, at)?.version
  }
  expect(run({ failed: 5 }, {}, 1_000)).toBe('2')
  expect(run({ failed: 5 }, { failed: 5 }, 1_000)).toBe(undefined)
  expect(run({ score: () => 0 }, {}, 1_000)).toBe(undefined)
  expect(run({ failed: 5 }, {}, 700_000)).toBe(undefined)
  expect(run({ failed: 5 }, {}, 1_000, 2_000)).toBe('2')
  expect(run({ failed: 5 }, { failed: 5 }, 1_000, 2_000)).toBe(undefined)
  // a process that has joined since knows nothing of the one before
  expect(run({ failed: 5 }, {}, 1_000, 0)).toBe(undefined)
})

test('p99 by the row, to a fifth', () => {
  const window = createScoreWindow()
  expect(window.p99Us(0)).toBeNaN()
  for (let nth = 0; nth < 1_000; nth++) window.add(new Float32Array(1), 1, 0, 0, nth < 985 ? 0.1 : 10, 1)
  expect(window.p99Us(0)).toBeGreaterThanOrEqual(10_000)
  expect(window.p99Us(0)).toBeLessThan(12_000)
  // by the size of runs
  expect(window.p99Us(1)).toBeNaN()
  window.add(new Float32Array(2), 2, 0, 0, 1, 3)
  window.add(new Float32Array(2), 2, 0, 0, 1, 2 ** 30)
  expect([0, 1, OCTAVES - 1].map((octave) => window.rowsIn(octave))).toEqual([1_000, 2, 2])
  expect(window.p99Us(1)).toBeLessThan(600)
})

test('the latest scores are kept, whatever the size of batches; rows without one are left out', () => {
  const window = createScoreWindow()
  const scores = Float32Array.from({ length: KEPT_SCORES + 1_000 }, (_, at) => at)
  window.add(scores.subarray(0, 100), 100, 0, 0, 1, 1)
  window.add(scores.subarray(100, 3_000), 2_900, 0, 0, 1, 1)
  window.add(scores.subarray(3_000), scores.length - 3_000, 0, 0, 1, 1)
  expect(window.sortedScores()).toEqual(scores.subarray(1_000))
  window.add(scores, scores.length, 0, 0, 1, 1)
  expect(window.sortedScores()).toEqual(scores.subarray(1_000))
  window.reset()
  window.add(Float32Array.of(Number.NaN, 2, 1), 3, 1, 0, 1, 1)
  expect([...window.sortedScores()]).toEqual([1, 2])
})

test('the stability index: nothing for the same scores, the formula for others', () => {
  const even = Float32Array.from({ length: 1_000 }, (_, at) => at / 1_000)
  expect(populationStability(even, even)).toBe(0)
  // all in the lowest decile: 10 bins of 100.5/1005, against 1000.5/1005 and nine of 0.5/1005
  const low = new Float32Array(1_000)
  const share = (count: number) => (count + 0.5) / 1_005
  const one = (count: number) => (share(count) - share(100)) * Math.log(share(count) / share(100))
  expect(populationStability(even, low)).toBeCloseTo(one(1_000) + 9 * one(0), 6)
  expect(populationStability(low, low)).toBe(0)
})

test('a version that fails whatever it is given is taken out once, where another can take its place', () => {
  let rollout: RolloutEntry | null = ROLLOUT(null)
  let woken = 0
  const failed = createFailedVersions({ rollout: () => rollout, onFailed: () => void woken++ })
  const error = fatal('model_failed', 'it fails whatever it is given')
  expect([failed.add('2', error), failed.add('2', error), woken]).toEqual([true, true, 2])
  const evidence = { version: '2', guard: 'model_failed', code: 'model_failed', message: error.message }
  expect([failed.take(), failed.take()]).toEqual([[{ version: '2', evidence }], []])
  // production without one before it, and no plan at all
  expect(failed.add('1', error)).toBe(false)
  failed.add('2', error)
  const plan = { epoch: 1, production: '0', candidate: null, shadow: null, guards: null }
  rollout = { ...ROLLOUT(null), active: { ...plan, epoch: 3, production: '1' }, previous: plan }
  // the candidate is out already: nothing is to be done, and this process is about to follow
  expect([failed.take(), failed.add('2', error), failed.take()]).toEqual([[], true, []])
  expect([failed.add('1', error), failed.take().length]).toEqual([true, 1])
  rollout = null
  expect(failed.add('1', error)).toBe(false)
})
