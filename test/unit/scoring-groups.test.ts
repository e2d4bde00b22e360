import { expect, test } from 'vitest'
import { pipelinesOf, registerPipeline, scoringMembers } from '../../inference/rollout/scoring-groups.ts'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import { memoryControlLog } from '../support/memory-control-log.ts'

// Whose members a rollout asks: those of every pipeline that says that it uses the model.

const using = (name: string, model: string) => ({ name, model: { name: model } })

test('a pipeline says its model once, however many of its processes start, and again when it is another', async () => {
  const control = memoryControlLog()
  await Promise.all(['a', 'b'].map((actor) => registerPipeline(control, using('p', 'm'), actor)))
  await registerPipeline(control, using('q', 'm'), 'c')
  expect([control.revision, pipelinesOf(control, 'm')]).toEqual([2, ['p', 'q']])
  await registerPipeline(control, using('p', 'other'), 'a')
  expect([pipelinesOf(control, 'm'), pipelinesOf(control, 'other')]).toEqual([['q'], ['p']])
  expect(control.latest('pipeline', 'p')?.value).toEqual({ model: 'other' })
})

test('a record that is not understood may be of any model, until the pipeline starts again', async () => {
  const control = memoryControlLog()
  const by = { actor: 'test', reason: '' }
  await control.append({ kind: 'pipeline', name: 'p', basedOn: null, value: { models: ['m'] }, ...by })
  expect([pipelinesOf(control, 'm'), pipelinesOf(control, 'other')]).toEqual([['p'], ['p']])
  await registerPipeline(control, using('p', 'm'), 'a')
  expect([pipelinesOf(control, 'm'), pipelinesOf(control, 'other')]).toEqual([['p'], []])
})

test('what the log cannot be told is not taken for said', async () => {
  const control = memoryControlLog()
  const append = () => Promise.reject(retryable('kafka_unavailable', 'no broker'))
  await expect(registerPipeline({ ...control, append }, using('p', 'm'), 'a')).rejects.toMatchObject({ fate: 'retry' })
})

test('those who score, by group: all of inference, the fused ones of processors', async () => {
  const groups: Readonly<Record<string, readonly string[]>> = {
    'p.inference': ['inference-1', 'inference-2'],
    'p.processors': ['processors-1', 'fused-1'],
    'q.inference': ['inference-3'],
  }
  const members = await scoringMembers({ members: async (group) => groups[group] ?? [] }, ['p', 'q', 'gone'])
  expect(Object.fromEntries(members)).toEqual({
    'inference-1': 'p.inference',
    'inference-2': 'p.inference',
    'fused-1': 'p.processors',
    'inference-3': 'q.inference',
  })
})

test('a group that may not be looked at is not taken for empty; brokers that are away are asked again', async () => {
  const refusing = { members: () => Promise.reject(fatal('kafka_refused', 'GROUP_AUTHORIZATION_FAILED')) }
  const refused = [...(await scoringMembers(refusing, ['p']))]
  expect(refused).toEqual([
    ['p.inference: kafka_refused', 'p.inference'],
    ['p.processors: kafka_refused', 'p.processors'],
  ])
  const away = { members: () => Promise.reject(retryable('kafka_unavailable', 'no broker')) }
  await expect(scoringMembers(away, ['p'])).rejects.toMatchObject({ fate: 'retry' })
})
