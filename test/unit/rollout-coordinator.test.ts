import { expect, test } from 'vitest'
import { change, standing } from '../../inference/commands/rollout-change.ts'
import { promote } from '../../inference/commands/rollout-promote.ts'
import { waitForVerdict } from '../../inference/commands/rollout-wait.ts'
import { createCoordinator, judgeProposal } from '../../inference/rollout/coordinator.ts'
import { readRollout } from '../../inference/rollout/read-rollout.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'

// Who decides on a proposal and when, and what the commands say of it.

const BY = { actor: 'test', reason: '' }
const PLAN = { epoch: 3, production: '1', candidate: null, shadow: null, guards: null }
/** `member@group` each. */
const inGroups = (...names: readonly string[]): ReadonlyMap<string, string> =>
  new Map(names.map((name) => [name, name.split('@')[1] ?? 'p.inference']))
const judge = (members: readonly string[], ready: Readonly<Record<string, number>>, now: number) =>
  judgeProposal({ plan: PLAN, deadline: 100 }, inGroups(...members), new Map(Object.entries(ready)), now)

test('activated once every member has loaded it, whatever the time; stalled past the deadline, with names', () => {
  expect(judge(['a', 'b'], { a: 3, b: 2 }, 99)).toBe(null)
  expect(judge(['a', 'b'], { a: 3 }, 99)).toBe(null)
  expect(judge(['a', 'b'], { a: 3, b: 4, c: 1 }, 99)).toEqual({ to: 'activate', epoch: 3 })
  expect(judge(['a', 'b'], { a: 3, b: 3 }, 200)).toEqual({ to: 'activate', epoch: 3 })
  const evidence = { members: 2, notReady: ['b'], groups: ['p.inference'] }
  expect(judge(['a', 'b'], { a: 3, b: 2 }, 100)).toEqual({ to: 'stall', epoch: 3, evidence })
  expect(judge([], {}, 99)).toBe(null)
  expect(judge([], {}, 100)).toMatchObject({ to: 'stall' })
})

test('a group that is not ready holds up all others, and is named', () => {
  const members = ['a@one', 'b@two', 'c@two', 'd@three']
  expect(judge(members, { 'a@one': 3, 'b@two': 3, 'd@three': 3 }, 99)).toBe(null)
  const evidence = { members: 4, notReady: ['b@two', 'c@two'], groups: ['two'] }
  expect(judge(members, { 'a@one': 3, 'd@three': 3 }, 100)).toEqual({ to: 'stall', epoch: 3, evidence })
})

const proposal = (control: ControlLog, version: string, now = 0) => {
  const terms = { role: { as: 'production' }, deadlineMs: 1_000, guarded: true, bundled: true } as const
  return promote(control, { model: 'm', version, ...terms, ...BY }, now)
}

test('two that decide at once: one entry', async () => {
  const control = memoryControlLog()
  const clock = manualClock(0)
  await proposal(control, '1')
  const deps = { model: 'm', control, clock, logger: silentLogger }
  const members = async () => inGroups('a@one', 'b@two')
  const readyEpochs = async () => new Map([...(await members())].map(([name]) => [name, 1]))
  const both = [...(await members())].map(([instance, group]) =>
    createCoordinator({ ...deps, members, readyEpochs, instance, group, waiting: () => null }),
  )
  await Promise.all(both.map((decide) => decide()))
  expect(control.revision).toBe(2)
  expect(control.latest('rollout', 'm')?.reason).toBe('all 2 members of 2 groups are ready')
  expect(readRollout(control, 'm').entry).toMatchObject({ step: 'activated', active: { production: '1' } })
})

test('one that waits for an active plan decides alone, on what it has loaded, while nobody is in any group', async () => {
  const control = memoryControlLog()
  const clock = manualClock(0)
  const readyEpochs = async () => new Map<string, number>()
  let [joined, own]: [ReadonlyMap<string, string>, number | null] = [inGroups('other@two'), 1]
  const decide = createCoordinator({
    ...{ model: 'm', control, clock, logger: silentLogger, instance: 'a', group: 'one', readyEpochs },
    members: async () => joined,
    waiting: () => own,
  })
  const step = () => readRollout(control, 'm').entry?.step
  await proposal(control, '1')
  // the others decide, also those of another pipeline
  await decide()
  expect(step()).toBe('proposed')
  ;[joined, own] = [inGroups(), 0]
  await decide()
  expect(step()).toBe('proposed')
  own = 1
  await decide()
  expect(readRollout(control, 'm').entry).toMatchObject({ step: 'activated', active: { production: '1' } })
  await proposal(control, '2')
  clock.advance(1_000)
  await decide()
  expect(readRollout(control, 'm').entry?.evidence).toEqual({
    members: 1,
    notReady: ['a'],
    groups: ['one'],
  })
})

test('two promotes at once: one is told of the conflict', async () => {
  const control = memoryControlLog()
  const [one, two] = await Promise.allSettled([proposal(control, '1'), proposal(control, '2')])
  expect(one).toEqual({ status: 'fulfilled', value: 1 })
  expect(two).toMatchObject({ status: 'rejected', reason: { fate: 'reject', code: 'control_conflict' } })
  await expect(proposal(control, '2')).rejects.toMatchObject({ code: 'rollout_pending' })
})

test('a version that nobody pushed is refused, unless it is said to lie beside the pipeline', async () => {
  const terms = { role: { as: 'production' }, deadlineMs: 1_000, guarded: true, bundled: false } as const
  const unknown = promote(memoryControlLog(), { model: 'm', version: '1', ...terms, ...BY }, 0)
  await expect(unknown).rejects.toMatchObject({ fate: 'crash', code: 'unknown_version' })
})

test('who waits is told the end, and ends what nobody decides', async () => {
  const control = memoryControlLog()
  const clock = manualClock(0)
  const epoch = await proposal(control, '1')
  expect(await waitForVerdict(control, 'm', epoch, clock, BY)).toEqual({
    end: 'stalled',
    evidence: { members: 0, notReady: [], undecided: true },
  })
  const second = await proposal(control, '2', clock.now())
  const waiting = waitForVerdict(control, 'm', second, { ...clock, sleep: () => new Promise(setImmediate) }, BY)
  expect(await change(control, 'm', { to: 'rollback' }, BY)).toBe('m: no plan is in force')
  expect(await waiting).toEqual({ end: 'rolled_back', evidence: { withdrawn: second } })
})

test('what is in force, as text', async () => {
  const control = memoryControlLog()
  expect(standing(control, 'm')).toBe('m: nothing was ever promoted')
  const decide = createCoordinator({
    ...{ model: 'm', control, clock: manualClock(0), logger: silentLogger, instance: 'a', group: 'one' },
    members: async () => inGroups('a'),
    readyEpochs: async () => new Map([['a', 99]]),
    waiting: () => null,
  })
  await proposal(control, '1')
  expect(standing(control, 'm')).toBe('m: no plan is in force; waiting: epoch 1: production 1')
  await decide()
  const terms = { deadlineMs: 1_000, guarded: false, bundled: true, ...BY }
  await promote(control, { model: 'm', version: '2', role: { as: 'candidate', weight: 1_050 }, ...terms }, 0)
  await decide()
  await promote(control, { model: 'm', version: '3', role: { as: 'shadow', share: 100 }, ...terms }, 0)
  await decide()
  const start = 'm: epoch 3: production 1, candidate 2 at'
  expect(await change(control, 'm', { to: 'pause' }, BY)).toBe(`${start} 10.5%, paused, shadow 3 at 1%`)
  expect(await change(control, 'm', { to: 'resume' }, BY)).toBe(`${start} 10.5%, shadow 3 at 1%`)
  expect(await change(control, 'm', { to: 'weight', weight: 2_500 }, BY)).toBe(`${start} 25%, shadow 3 at 1%`)
  await expect(change(control, 'm', { to: 'weight', weight: 20_000 }, BY)).rejects.toMatchObject({
    code: 'invalid_weight',
  })
})
