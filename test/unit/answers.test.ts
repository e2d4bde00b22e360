import { beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import { createBells } from '../../ingest/answers/bells.ts'
import { createAnswers } from '../../ingest/answers/create-answers.ts'
import { type EndedEvent, predictedEvent, rejectedEvent } from '../../ingest/answers/ended-event.ts'
import type { LoggedEvent } from '../../ingest/answers/event-log.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import type { RequestId } from '../../schemas/request-id.ts'
import { predictionOf } from '../support/predictions.ts'

// What is asked of Redis, ClickHouse and the log in which order, and what their answers together mean. With the real ones:
// test/integration/gateway-answers.test.ts.

const NOW = Date.UTC(2026, 0, 5, 13)
const TODAY = Date.UTC(2026, 0, 5)
const DAY_MS = 86_400_000
const DUPLICATE = 'duplicate_event_id'
const id = (offset: number, dayMs = TODAY): RequestId => ({ pipeline: 'orders', dayMs, partition: 0, offset })
const AWAY = retryable('away', 'it is away')

function predicted(offset: number, change: Partial<Prediction> = {}): EndedEvent {
  const made = predictedEvent('orders', 0, predictionOf({ origin_offset: offset, origin_generation: 'now', ...change }))
  if (made === null) throw new Error('it cannot be shown')
  return made
}

function rejectedAs(offset: number, reason: string, failedAt = NOW): EndedEvent {
  const said = { generation: 'now', tenant: 'main', event_id: 'event-1', message: 'm', failed_at: failedAt }
  return rejectedEvent(offset, { ...said, reason })
}

/** Each answers from its map, or throws what is in its place. */
let redis: Map<number, EndedEvent> | Error
let clickhouse: Map<number, EndedEvent> | Error
let log: Map<number, LoggedEvent> | Error
let first: { recent: EndedEvent | null; stored: EndedEvent | null }
let generation: string
let asked: string[]
let announced: number

beforeEach(() => {
  redis = new Map()
  clickhouse = new Map()
  log = new Map()
  first = { recent: null, stored: null }
  generation = 'now'
  asked = []
  announced = 0
})

function from<T>(name: string, store: Map<number, T> | Error, offset: number): T | null {
  asked.push(name)
  if (store instanceof Error) throw store
  return store.get(offset) ?? null
}

function answersOf(maxWaiting = 10) {
  const bells = createBells(systemClock)
  const answers = createAnswers({
    recent: {
      at: async (_, offset) => from('redis', redis, offset),
      async before() {
        if (redis instanceof Error) throw redis
        return first.recent
      },
      async announce() {
        announced++
      },
    },
    stored: {
      at: async ({ offset }) => from('clickhouse', clickhouse, offset),
      before: async () => first.stored,
    },
    log: {
      generation: () => generation,
      async refresh() {
        asked.push('refresh')
      },
      look: async (_, offset) => from('log', log, offset) ?? { state: 'absent' },
    },
    bells,
    maxWaiting,
    clock: { ...systemClock, now: () => NOW },
    observer: { asked: () => undefined, waited: () => undefined },
  })
  return { ...answers, bells }
}

test('Redis is enough when it has the answer, ClickHouse when Redis has not', async () => {
  redis = new Map([[1, predicted(1)]])
  clickhouse = new Map([[2, predicted(2)]])
  const { find } = answersOf()
  expect(await find(id(1), 'main')).toEqual(predicted(1).answer)
  expect(asked).toEqual(['redis'])
  expect(await find(id(2), 'main')).toEqual(predicted(2).answer)
  redis = AWAY
  expect(await find(id(2), 'main')).toEqual(predicted(2).answer)
})

test('another tenant, another day, or nothing at all is unknown, wherever the event stands', async () => {
  const { find } = answersOf()
  redis = new Map([[1, predicted(1)]])
  clickhouse = new Map([[2, predicted(2)]])
  log = new Map([
    [3, { state: 'there', tenant: 'main', dayMs: TODAY }],
    [4, { state: 'gone' }],
  ])
  for (const offset of [1, 2, 3]) {
    expect(await find(id(offset), 'other')).toEqual({ state: 'unknown' })
    expect(await find(id(offset, TODAY - DAY_MS), 'main')).toEqual({ state: 'unknown' })
  }
  expect(await find(id(9), 'main')).toEqual({ state: 'unknown' })
  expect(await find(id(3), 'main')).toEqual({ state: 'pending' })
  expect(await find(id(4, TODAY - 30 * DAY_MS), 'main')).toEqual({ state: 'expired' })
  expect(await find(id(4, TODAY + DAY_MS), 'main')).toEqual({ state: 'unknown' })
})

test('the day of a rejected event is that of the log, as long as it has it', async () => {
  redis = new Map([[1, rejectedAs(1, 'not_avro')]])
  log = new Map([[1, { state: 'there', tenant: 'main', dayMs: TODAY }]])
  const { find } = answersOf()
  expect(await find(id(1), 'main')).toMatchObject({ state: 'rejected', reason: 'not_avro' })
  expect(await find(id(1, TODAY - DAY_MS), 'main')).toEqual({ state: 'unknown' })
  log = AWAY
  expect(await find(id(1), 'main')).toMatchObject({ state: 'rejected', reason: 'not_avro' })
})

test('without Redis and ClickHouse nobody can say; without one of them it is never said that an answer has expired', async () => {
  const { find } = answersOf()
  log = new Map([[1, { state: 'gone' }]])
  redis = AWAY
  clickhouse = AWAY
  await expect(find(id(1), 'main')).rejects.toMatchObject({ fate: 'retry', code: 'answers_unavailable' })
  redis = new Map()
  await expect(find(id(1), 'main')).rejects.toMatchObject({ fate: 'retry' })
  redis = fatal('redis_refused', 'wrong password')
  await expect(find(id(1), 'main')).rejects.toMatchObject({ code: 'redis_refused' })
})

test('ClickHouse is not asked again at once for what it did not have', async () => {
  log = new Map([[1, { state: 'there', tenant: 'main', dayMs: TODAY }]])
  const { find } = answersOf()
  await find(id(1), 'main')
  await find(id(1), 'main')
  expect(asked.filter((name) => name === 'clickhouse')).toHaveLength(1)
})

test('an answer from before the topic was made again counts only where the topic has not come to yet', async () => {
  redis = new Map([[1, predicted(1, { origin_generation: 'before' })]])
  clickhouse = new Map([[1, predicted(1, { origin_generation: 'before' })]])
  const { find } = answersOf()
  expect(await find(id(1), 'main')).toMatchObject({ state: 'predicted' })
  log = new Map([[1, { state: 'there', tenant: 'main', dayMs: TODAY }]])
  expect(await answersOf().find(id(1), 'main')).toEqual({ state: 'pending' })
  generation = 'before'
  expect(await find(id(1), 'main')).toMatchObject({ state: 'predicted' })
})

test("a repetition has its first event's answer, once there is one", async () => {
  redis = new Map([[5, rejectedAs(5, DUPLICATE)]])
  log = new Map([[5, { state: 'there', tenant: 'main', dayMs: TODAY }]])
  const { find } = answersOf()
  expect(await find(id(5), 'main')).toEqual({ state: 'pending' })
  first.stored = predicted(3)
  expect(await find(id(5), 'main')).toEqual(predicted(3).answer)
  first.recent = rejectedAs(3, 'model_error')
  expect(await find(id(5), 'main')).toEqual(rejectedAs(3, 'model_error').answer)
  first = { recent: null, stored: null }
  redis = new Map([[5, rejectedAs(5, DUPLICATE, NOW - DAY_MS)]])
  expect(await find(id(5), 'main')).toMatchObject({ state: 'rejected', reason: DUPLICATE })
})

test('who waits is answered by the news, also when it comes before it sleeps, and by looking again when the news is lost', async () => {
  const { wait, bells } = answersOf()
  const told = wait(id(1), 'main', AbortSignal.timeout(20_000))
  redis = new Map([[1, predicted(1)]])
  bells.ring('0.1')
  expect(await told).toEqual(predicted(1).answer)
  const lost = wait(id(2), 'main', AbortSignal.timeout(20_000))
  redis = new Map([[2, predicted(2)]])
  expect(await lost).toEqual(predicted(2).answer)
  expect(await wait(id(2), 'other', AbortSignal.timeout(20_000))).toEqual({ state: 'unknown' })
  expect([bells.waiting, announced]).toEqual([0, 3])
})

test('waiting ends as pending: when it is aborted, when Redis is away or hangs, when too many wait', async () => {
  const { wait, bells } = answersOf(1)
  const stop = new AbortController()
  const waits = wait(id(1), 'main', stop.signal)
  expect(bells.waiting).toBe(1)
  expect(await wait(id(2), 'main', new AbortController().signal)).toEqual({ state: 'pending' })
  stop.abort()
  expect(await waits).toEqual({ state: 'pending' })
  expect(await wait(id(1), 'main', stop.signal)).toEqual({ state: 'pending' })
  redis = AWAY
  expect(await wait(id(1), 'main', new AbortController().signal)).toEqual({ state: 'pending' })
  expect(bells.waiting).toBe(0)
})
