import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { type ControlLogDeps, startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { CONTROL_TOPIC } from '../../schemas/topics.ts'
import { eventually } from '../support/eventually.ts'
import { memoryLog } from '../support/memory-log.ts'

// A log whose partition has no leader: its reader asks again and again, and rejects only once it is told to give up.

const PATIENCE_MS = 50
const SOON = { deadlineMs: 30_000 }

interface Outage {
  readonly deps: ControlLogDeps
  readonly logged: string[]
  away: boolean
  /** How often the log was given up. */
  givenUp: number
}

function outage(): Outage {
  const there = memoryLog(new Map())
  const range: LogReader['range'] = async (topic, partition, isolation, signal) => {
    if (!state.away) return await there.range(topic, partition, isolation, signal)
    return await new Promise((_, reject) => {
      const giveUp = (): void => {
        state.givenUp += 1
        reject(retryable('kafka_unavailable', `${topic}/${partition} has no leader`))
      }
      signal?.addEventListener('abort', giveUp)
    })
  }
  const logged: string[] = []
  const log = (_fields: object, message?: string): void => void logged.push(message ?? '')
  const metadata = { name: CONTROL_TOPIC, id: 'made-once', partitions: [] }
  const deps = {
    brokers: { topics: async () => new Map([[CONTROL_TOPIC, metadata]]) },
    log: { ...there, range },
    writer: { write: async () => [] },
    registry: { schemaById: async () => null, register: async () => 1 },
    clock: systemClock,
    logger: { ...silentLogger, warn: log, info: log },
    patienceMs: PATIENCE_MS,
  } as unknown as ControlLogDeps
  const state: Outage = { deps, logged, away: false, givenUp: 0 }
  return state
}

test('at the start it rejects and says why, to be tried again', async () => {
  const state = outage()
  state.away = true
  await expect(startControlLog(state.deps)).rejects.toMatchObject({
    ...{ fate: 'retry', code: 'kafka_unavailable', message: expect.stringContaining('has no leader') },
  })
})

test('while it is followed an outage is logged once, and said with its beginning until it is over', async () => {
  const state = outage()
  const started = await startControlLog(state.deps)
  onTestFinished(() => started.stop())
  const { value: control } = started
  expect(control.problem()).toBe(null)
  const { readAt } = control
  state.away = true
  await eventually(() => expect(state.givenUp).toBeGreaterThan(2), SOON)
  const problem = control.problem() ?? ''
  expect(problem).toMatch(/^the control log cannot be read since \S+Z: .*has no leader$/)
  const since = Date.parse(/since (\S+):/.exec(problem)?.[1] ?? '')
  expect(since).toBe(readAt)
  expect(state.logged).toEqual(['the control log cannot be read'])

  state.away = false
  await eventually(() => expect(control.problem()).toBe(null), SOON)
  expect(state.logged).toEqual(['the control log cannot be read', 'the control log can be read again'])
  state.away = true
  await eventually(() => expect(control.problem()).not.toBe(null), SOON)
  expect(state.logged).toHaveLength(3)
})

test('it stops in an outage', async () => {
  const state = outage()
  const started = await startControlLog(state.deps)
  state.away = true
  await eventually(() => expect(started.value.problem()).not.toBe(null), SOON)
  await started.stop()
  await started.value.ended
})
