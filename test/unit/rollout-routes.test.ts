import { expect, test } from 'vitest'
import { shareSeed } from '../../inference/rollout/entity-bucket.ts'
import { createVersionCatalogue } from '../../inference/rollout/version-catalogue.ts'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'
import {
  activate,
  answers,
  BY,
  becomes,
  digestOf,
  FEATURES,
  MODEL,
  OTHER,
  pipeline,
  propose,
  register,
  SOON,
  stage,
  step,
  text,
} from '../support/rollout-stage.ts'
import { addVersion, MODEL_2, withModels } from '../support/scoring.ts'

// Which version answers what, while plans come and go. Versions load when the test says so.

test('without a plan the bundled versions serve, whatever is registered', async () => {
  const control = memoryControlLog()
  await register(control, '7')
  const { directory } = withModels(pipeline)
  const one = stage(control, directory)
  await one.routes.loadBundled()
  expect([answers(one), one.routes.problem(), one.routes.readyEpoch()]).toEqual(['1', null, 0])
  // a higher one that appears is loaded beside it
  addVersion(directory, '2')
  one.advance(1_000)
  one.routes.follow(false)
  expect(answers(one)).toBe('1')
  await becomes(one, '2')
  // a registered one takes what no bundled one does
  await register(control, '8', OTHER)
  expect(answers(one, OTHER)).toBe(null)
  await becomes(one, '8', OTHER)
})

test('a proposed version loads beside, and answers only once it is activated', async () => {
  const control = memoryControlLog()
  const { directory } = withModels(pipeline)
  const one = stage(control, directory)
  await one.routes.loadBundled()
  await register(control, '2')
  const epoch = await propose(control, '2')
  await eventually(() => expect(one.routes.readyEpoch()).toBe(epoch), SOON)
  expect(answers(one)).toBe('1')
  const held = one.routes.acquire(FEATURES)
  await step(control, { to: 'activate', epoch })
  expect(answers(one)).toBe('2')
  expect(text(held)).toBe('1')
  held?.release()
})

test('a version that is held outlives the swap; what nobody holds or pins makes room', async () => {
  const control = memoryControlLog()
  for (const version of ['1', '2', '3']) await register(control, version)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await becomes(one, '1')
  const held = one.routes.acquire(FEATURES)
  await activate(control, '2')
  await becomes(one, '2')
  await activate(control, '3')
  await becomes(one, '3')
  one.advance(60_000)
  expect(one.closed).toEqual([])
  held?.release()
  await eventually(() => expect(one.closed).toEqual(['1']), SOON)
  // the one before it is pinned: a rollback is at once
  await step(control, { to: 'roll back', version: null, evidence: null })
  expect(answers(one)).toBe('2')
})

test('a plan comes into force once, whatever else is said meanwhile', async () => {
  const control = memoryControlLog()
  for (const version of ['1', '2']) await register(control, version)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await becomes(one, '1')
  await activate(control, '2', { as: 'candidate', weight: 1_000 })
  await becomes(one, '1+2@1000')
  // the epoch stays: the versions are the same
  await step(control, { to: 'weigh', weight: 2_000 })
  await becomes(one, '1+2@2000')
  const epoch = await propose(control, '2')
  await step(control, { to: 'stall', epoch, evidence: {} })
  expect(one.inForce).toEqual([1, 2, 2])
})

test('candidate and shadow share the feature set with production, else each answers its own', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  await register(control, '2')
  await register(control, '3')
  await register(control, '4', OTHER)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await activate(control, '2', { as: 'candidate', weight: 1_000 })
  await activate(control, '3', { as: 'shadow', share: 500 })
  await becomes(one, '1+2@1000~3')
  const route = one.routes.acquire(FEATURES)
  expect(route?.canary?.seed).toBe(shareSeed(digestOf('2')))
  route?.release()
  await step(control, { to: 'pause' })
  expect(answers(one)).toBe('1~3')
  await step(control, { to: 'resume' })
  await step(control, { to: 'weigh', weight: 5_000 })
  expect(answers(one)).toBe('1+2@5000~3')
  await activate(control, '4', { as: 'candidate', weight: 1_000 })
  await becomes(one, '1~3')
  await becomes(one, '4', OTHER)
})

test('a shadow that comes to answer is loaded anew, apart from what it was', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  await register(control, '2')
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await activate(control, '2', { as: 'shadow', share: 10_000 })
  await becomes(one, '1~2')
  const shown = one.routes.acquire(FEATURES)
  await activate(control, '2')
  await becomes(one, '2')
  const answering = one.routes.acquire(FEATURES)
  expect(answering?.primary).not.toBe(shown?.shadow?.version)
  shown?.release()
  answering?.release()
})

test('a feature set that the plan does not take: the production before it, else the highest version', async () => {
  const control = memoryControlLog()
  await register(control, '1', OTHER)
  await register(control, '2')
  await activate(control, '1')
  await activate(control, '2')
  const { directory } = withModels(pipeline)
  addVersion(directory, '9', { from: MODEL_2 })
  const one = stage(control, directory)
  await becomes(one, '2')
  await becomes(one, '1', OTHER)
  const third = createVersionCatalogue({
    control,
    clock: manualClock(),
    logger: silentLogger,
    pipeline: { ...pipeline, model: { ...pipeline.model, directory } },
  }).named('9', null)
  await becomes(one, '9', third?.featureSet)
  expect(answers(one, 'nobody takes it')).toBe(null)
})

test('a joining process is not ready, and answers nothing, until the active plan is loaded', async () => {
  const control = memoryControlLog()
  await register(control, '2')
  await activate(control, '2')
  const { directory } = withModels(pipeline)
  const one = stage(control, directory)
  one.routes.follow(false)
  expect([answers(one), one.routes.readyEpoch()]).toEqual([null, 0])
  expect(one.routes.problem()).toMatch('epoch 1 are not loaded')
  await becomes(one, '2')
  expect([one.routes.problem(), one.routes.readyEpoch()]).toEqual([null, 1])
})

test('a version that does not load leaves what serves, and is never reported as ready', async () => {
  const control = memoryControlLog()
  for (const version of ['1', '2', '3']) await register(control, version)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await becomes(one, '1')
  one.broken.set('2', fatal('invalid_model', 'golden rows differ'))
  await activate(control, '2')
  await eventually(() => expect(one.routes.rollout()?.active?.production).toBe('2'), SOON)
  expect([answers(one), one.routes.problem(), one.routes.readyEpoch()]).toEqual(['1', null, 1])
  // tried again with the next word about the rollout
  one.broken.delete('2')
  await propose(control, '3')
  await becomes(one, '2')
})

test('a load that may succeed later is tried again, while others load', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  await register(control, '2', OTHER)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await becomes(one, '1')
  one.broken.set('2', retryable('store_unavailable', 'no answer'))
  expect(answers(one, OTHER)).toBe(null)
  one.broken.delete('2')
  await eventually(() => {
    one.advance(1_000)
    expect(answers(one, OTHER)).toBe('2')
  }, SOON)
})

test('a load under way blocks nobody', async () => {
  const control = memoryControlLog()
  for (const version of ['1', '2', '3']) await register(control, version)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await becomes(one, '1')
  const { promise, resolve } = Promise.withResolvers<void>()
  one.gates.set('2', promise)
  await propose(control, '2')
  await step(control, { to: 'roll back', version: null, evidence: null })
  await activate(control, '3')
  await becomes(one, '3')
  resolve()
})

test('a record that is not understood changes nothing, is not built upon, and keeps a joining process waiting', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  await activate(control, '1')
  const { directory } = withModels(pipeline)
  const one = stage(control, directory)
  await becomes(one, '1')
  const newer = { kind: 'rollout', name: MODEL, value: { step: 'of a later time' }, ...BY } as const
  await control.append({ ...newer, basedOn: control.latest('rollout', MODEL)?.revision ?? null })
  expect([answers(one), one.routes.rollout()?.active?.production, one.routes.problem()]).toEqual(['1', '1', null])
  await expect(step(control, { to: 'pause' })).rejects.toMatchObject({ fate: 'reject', code: 'unknown_rollout' })
  const joining = stage(control, directory)
  await joining.routes.loadBundled()
  expect([answers(joining), joining.routes.problem()]).toEqual([null, expect.stringContaining('not understood')])
})

test('a rollback to a plan with a candidate: its production answers at once, its candidate once it is loaded', async () => {
  const control = memoryControlLog()
  for (const version of ['1', '2', '3']) await register(control, version)
  await activate(control, '1')
  await activate(control, '2', { as: 'candidate', weight: 1_000 })
  const plan = { production: '3', candidate: null, shadow: null, guards: null }
  await step(control, { to: 'propose', plan, now: 0, deadline: 1 })
  await step(control, { to: 'activate', epoch: 3 })
  const one = stage(control, '/nowhere')
  one.broken.set('2', retryable('store_unavailable', 'no answer'))
  await becomes(one, '3')
  await step(control, { to: 'roll back', version: null, evidence: null })
  await becomes(one, '1')
  one.broken.delete('2')
  await eventually(() => {
    one.advance(30_000)
    one.routes.follow(false)
    expect(answers(one)).toBe('1+2@1000')
  }, SOON)
  expect(one.inForce).toEqual([3, 4])
})

test('a version that was taken out answers no feature set; another one outside the plan is said once', async () => {
  const control = memoryControlLog()
  await register(control, '1')
  for (const version of ['2', '3']) await register(control, version, OTHER)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await activate(control, '3', { as: 'candidate', weight: 1_000 })
  await becomes(one, '3', OTHER)
  await step(control, { to: 'roll back', version: '3', evidence: { version: '3' } })
  await becomes(one, '2', OTHER)
  one.routes.follow(false)
  expect([answers(one, OTHER), one.warned]).toEqual(['2', ['2']])
  await propose(control, '3', { as: 'candidate', weight: 1_000 })
  await becomes(one, '3', OTHER)
})

test('a version that does not load for good is tried again after half a minute, then ever more rarely', async () => {
  const control = memoryControlLog()
  for (const version of ['1', '2']) await register(control, version)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await becomes(one, '1')
  one.broken.set('2', fatal('invalid_model', 'golden rows differ'))
  await activate(control, '2')
  await eventually(() => expect(one.failed).toEqual(['2', '2']), SOON)
  one.broken.delete('2')
  one.advance(14_000)
  one.routes.follow(false)
  await new Promise(setImmediate)
  expect(answers(one)).toBe('1')
  one.advance(60_000)
  one.routes.follow(false)
  await becomes(one, '2')
})
