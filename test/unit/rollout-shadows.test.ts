/** When a shadow is loaded, and when it goes: its child is for nothing else. */
import { expect, test } from 'vitest'
import { fatal } from '../../infra/runtime/errors.ts'
import { eventually } from '../support/eventually.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'
import { activate, answers, becomes, propose, register, SOON, stage, step } from '../support/rollout-stage.ts'

const SHADOW = { as: 'shadow', share: 500 } as const

async function shadowed() {
  const control = memoryControlLog()
  for (const version of ['1', '2', '3']) await register(control, version)
  await activate(control, '1')
  const one = stage(control, '/nowhere')
  await activate(control, '2', SHADOW)
  await becomes(one, '1~2')
  return { control, one }
}

test.each(['production', 'candidate'] as const)('a shadow that becomes %s ends as a shadow', async (as) => {
  const { control, one } = await shadowed()
  await activate(control, '2', as === 'production' ? { as } : { as, weight: 1_000 })
  await becomes(one, as === 'production' ? '2' : '1+2@1000')
  expect(one.closed).toEqual(['2 as a shadow'])
})

test('a shadow that is rolled back, or was only proposed, ends', async () => {
  const { control, one } = await shadowed()
  await step(control, { to: 'roll back', version: '2', evidence: null })
  await becomes(one, '1')
  expect(one.closed).toEqual(['2 as a shadow'])
  const epoch = await propose(control, '3', SHADOW)
  await eventually(() => expect(one.routes.readyEpoch()).toBe(epoch), SOON)
  await step(control, { to: 'roll back', version: null, evidence: null })
  expect(one.closed).toEqual(['2 as a shadow', '3 as a shadow'])
})

test('while the plan after it does not load, a shadow stays with the one that serves', async () => {
  const { control, one } = await shadowed()
  one.broken.set('3', fatal('invalid_model', 'golden rows differ'))
  const plan = { production: '3', candidate: null, shadow: null, guards: null }
  await step(control, { to: 'propose', plan, now: 0, deadline: 1 })
  await step(control, { to: 'activate', epoch: 3 })
  await eventually(() => expect(one.failed).toContain('3'), SOON)
  one.routes.follow(false)
  expect([answers(one), one.closed]).toEqual(['1~2', []])
  one.broken.delete('3')
  one.advance(60_000)
  one.routes.follow(false)
  await becomes(one, '3')
  expect(one.closed).toEqual(['2 as a shadow'])
})
