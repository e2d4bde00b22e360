import { expect, test } from 'vitest'
import { nextRollout, planWith, type Role, type RolloutRequest } from '../../inference/rollout/rollout-state.ts'
import type { RolloutEntry, RolloutPlan } from '../../schemas/control/models.ts'

// The steps of a rollout, one after the other.

const NOW = 1_000
const DEADLINE = 2_000
const CANDIDATE = (weight = 1_000): Role => ({ as: 'candidate', weight })

function step(entry: RolloutEntry | null, request: RolloutRequest): RolloutEntry {
  const next = nextRollout(entry, request)
  if (!next.ok) throw new Error(next.code)
  return next.entry
}

function refusal(entry: RolloutEntry | null, request: RolloutRequest): string {
  const next = nextRollout(entry, request)
  return next.ok ? `not refused: ${next.entry.step}` : next.code
}

function proposed(entry: RolloutEntry | null, version: string, role: Role = { as: 'production' }): RolloutEntry {
  const planned = planWith(entry, version, role, null)
  if (!planned.ok) throw new Error(planned.code)
  return step(entry, { to: 'propose', plan: planned.plan, now: NOW, deadline: DEADLINE })
}

function promoted(entry: RolloutEntry | null, version: string, role?: Role): RolloutEntry {
  const waiting = proposed(entry, version, role)
  return step(waiting, { to: 'activate', epoch: waiting.lastEpoch })
}

const back = (version: string | null = null): RolloutRequest => ({ to: 'roll back', version, evidence: null })

/** production+candidate@weight~shadow, of the plan. */
function text(plan: RolloutPlan | null | undefined): string | null {
  if (plan === null || plan === undefined) return null
  const { epoch, production, candidate, shadow } = plan
  const share = candidate === null ? '' : `+${candidate.version}@${candidate.paused ? 'paused' : candidate.weight}`
  return `${epoch}:${production}${share}${shadow === null ? '' : `~${shadow.version}`}`
}

test('proposed, then activated: nothing serves before, and what served is what a rollback returns to', () => {
  const waiting = proposed(null, '1')
  expect([waiting.step, waiting.active, text(waiting.proposed?.plan)]).toEqual(['proposed', null, '1:1'])
  const first = step(waiting, { to: 'activate', epoch: 1 })
  expect([first.step, text(first.active), first.previous, first.proposed]).toEqual(['activated', '1:1', null, null])
  const second = promoted(first, '2')
  expect([text(second.active), text(second.previous)]).toEqual(['2:2', '1:1'])
})

test('one proposal at a time, until it is overdue', () => {
  const waiting = proposed(promoted(null, '1'), '2')
  const plan = { production: '3', candidate: null, shadow: null, guards: null }
  const again = (now: number): RolloutRequest => ({ to: 'propose', plan, now, deadline: now + 1_000 })
  expect(refusal(waiting, again(DEADLINE))).toBe('rollout_pending')
  expect(text(step(waiting, again(DEADLINE + 5_000)).proposed?.plan)).toBe('3:3')
})

test('only what is proposed is activated or stalls', () => {
  const waiting = proposed(null, '1')
  expect(refusal(waiting, { to: 'activate', epoch: 2 })).toBe('not_proposed')
  expect(refusal(waiting, { to: 'stall', epoch: 2, evidence: {} })).toBe('not_proposed')
  expect(refusal(null, { to: 'activate', epoch: 1 })).toBe('not_proposed')
})

test('a stalled proposal leaves the active plan, and its epoch is not used again', () => {
  const waiting = proposed(promoted(null, '1'), '2')
  const stalled = step(waiting, { to: 'stall', epoch: 2, evidence: { notReady: ['b'] } })
  expect([stalled.step, text(stalled.active), stalled.proposed]).toEqual(['stalled', '1:1', null])
  expect(stalled.evidence).toEqual({ notReady: ['b'] })
  expect(text(proposed(stalled, '2').proposed?.plan)).toBe('3:2')
})

test('a rollback withdraws what waits, then undoes what came last, once', () => {
  const canary = promoted(promoted(promoted(null, '1'), '2'), '3', CANDIDATE())
  const withdrawn = step(proposed(canary, '4'), back())
  expect([text(withdrawn.active), withdrawn.proposed, withdrawn.evidence]).toEqual([
    '3:2+3@1000',
    null,
    { withdrawn: 4 },
  ])
  const undone = step(withdrawn, back())
  expect([undone.step, text(undone.active), undone.previous]).toEqual(['rolled_back', '5:2', null])
  expect(refusal(undone, back())).toBe('nothing_to_roll_back')
  expect(refusal(null, back())).toBe('nothing_to_roll_back')
})

test('a candidate is promoted: a rollback returns to production without it', () => {
  const canary = promoted(promoted(null, '1'), '2', CANDIDATE())
  const whole = promoted(canary, '2')
  expect([text(whole.active), text(whole.previous)]).toEqual(['3:2', '2:1'])
  expect(text(step(whole, back()).active)).toBe('4:1')
})

test('a version that fails is taken out wherever it serves', () => {
  const canary = promoted(promoted(promoted(null, '1'), '2'), '3', CANDIDATE())
  const all = promoted(canary, '4', { as: 'shadow', share: 500 })
  expect(text(all.active)).toBe('4:2+3@1000~4')
  expect(text(step(all, back('4')).active)).toBe('5:2+3@1000')
  expect(text(step(all, back('3')).active)).toBe('5:2~4')
  expect(refusal(all, back('2'))).toBe('nothing_to_roll_back')
  expect(refusal(all, back('9'))).toBe('nothing_to_roll_back')
  const second = promoted(promoted(null, '1'), '2')
  expect(text(step(second, back('2')).active)).toBe('3:1')
  expect(refusal(promoted(null, '1'), back('1'))).toBe('nothing_to_roll_back')
})

test('a version that fails takes a waiting proposal with it', () => {
  const waiting = proposed(promoted(promoted(null, '1'), '2', CANDIDATE()), '3')
  const without = step(waiting, { to: 'roll back', version: '2', evidence: { guard: 'errors' } })
  expect([text(without.active), without.proposed]).toEqual(['4:1', null])
  expect(without.evidence).toEqual({ withdrawn: 3, guard: 'errors' })
})

test('a paused candidate keeps its weight, through a proposal that keeps the candidate', () => {
  const canary = promoted(promoted(null, '1'), '2', CANDIDATE(700))
  const paused = step(canary, { to: 'pause' })
  expect([paused.step, text(paused.active)]).toEqual(['paused', '2:1+2@paused'])
  const shadowed = promoted(paused, '3', { as: 'shadow', share: 10 })
  expect(text(shadowed.active)).toBe('3:1+2@paused~3')
  const resumed = step(shadowed, { to: 'resume' })
  expect([resumed.step, text(resumed.active)]).toEqual(['resumed', '3:1+2@700~3'])
  const waiting = step(proposed(canary, '3', { as: 'shadow', share: 10 }), { to: 'pause' })
  expect(text(waiting.proposed?.plan)).toBe('3:1+2@paused~3')
})

test('another weight keeps the epoch: the versions are the same', () => {
  const canary = promoted(promoted(null, '1'), '2', CANDIDATE())
  const heavier = step(canary, { to: 'weigh', weight: 5_000 })
  expect([heavier.step, text(heavier.active)]).toEqual(['weighted', '2:1+2@5000'])
  expect(refusal(canary, { to: 'weigh', weight: 10_001 })).toBe('invalid_weight')
  expect(refusal(canary, { to: 'weigh', weight: 0.5 })).toBe('invalid_weight')
})

test('what needs a candidate or a production is refused without', () => {
  const plain = promoted(null, '1')
  for (const request of [{ to: 'pause' }, { to: 'resume' }, { to: 'weigh', weight: 1 }] as const) {
    expect(refusal(plain, request)).toBe('no_candidate')
    expect(refusal(null, request)).toBe('no_candidate')
  }
  expect(planWith(null, '2', CANDIDATE(), null)).toMatchObject({ ok: false, code: 'no_production' })
  expect(planWith(plain, '1', CANDIDATE(), null)).toMatchObject({ ok: false, code: 'already_serving' })
  expect(planWith(plain, '2', CANDIDATE(10_001), null)).toMatchObject({ ok: false, code: 'invalid_weight' })
})
