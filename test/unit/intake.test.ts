import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { fatal, rejected, retryable } from '../../infra/runtime/errors.ts'
import { partitionOfKey } from '../../infra/runtime/kafka/partitioner.ts'
import type { OutgoingBatch, RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import { createFinishedRequests, type FinishedRequests } from '../../ingest/intake/finished-requests.ts'
import { type IntakeOptions, startIntake } from '../../ingest/intake/start-intake.ts'
import type { ReadItem } from '../../ingest/mapping/event-reader.ts'
import { manualClock, steppedClock } from '../support/manual-clock.ts'

const APPENDED_AT = Date.UTC(2026, 0, 31)
const NOTHING: FinishedRequests = { find: async () => null, remember: async () => {} }
const BY = { tenant: 'acme', traceparent: null, idempotencyKey: null }

const item = (id: string, key: string | null = null, bytes = 10): ReadItem => ({
  ...{ ok: true, id, key },
  value: Buffer.alloc(bytes, id),
})

function start(write: (batches: readonly OutgoingBatch[]) => Promise<void>, own: Partial<IntakeOptions> = {}) {
  const written: OutgoingBatch[] = []
  const ends = new Map<number, number>()
  const writer: RecordWriter = {
    async write(batches) {
      await write(batches)
      return batches.map((batch) => {
        written.push(batch)
        const baseOffset = ends.get(batch.partition) ?? 0
        ends.set(batch.partition, baseOffset + batch.records.length)
        return { ...batch, baseOffset, appendedAt: APPENDED_AT }
      })
    },
  }
  const intake = startIntake({
    ...{ topic: 'p.events', partitions: 4, pipeline: 'p', tenantHeader: true, writer, lingerMs: 0 },
    ...{ publishWithinMs: 10_000, maxBytesInFlight: 10_000, stopWithinMs: 10, retry: { baseMs: 1, maxMs: 1 } },
    ...{ clock: systemClock, finished: NOTHING, onRetry: () => {} },
    ...own,
  })
  onTestFinished(() => intake.stop())
  return { intake: intake.value, written }
}

const acknowledged = async (): Promise<void> => {}
const never = (): Promise<void> => new Promise(() => {})

test('events go to the partition of their key, or of their id, and say whose they are where the topic does', async () => {
  const { intake, written } = start(acknowledged)
  const problem = { code: 'wrong_type', pointer: '/a', detail: 'no' }
  const results = await intake.submit([item('one', 'key'), { ok: false, problem }, item('other')], {
    ...BY,
    traceparent: '00-a-b-01',
  })
  const [keyed, unkeyed] = [partitionOfKey(Buffer.from('key'), 4), partitionOfKey(Buffer.from('other'), 4)]
  expect(keyed).not.toBe(unkeyed)
  expect(results).toEqual([
    { ok: true, id: 'one', requestId: `p.20260131.${keyed}.0`, repeated: false },
    { ok: false, problem },
    { ok: true, id: 'other', requestId: `p.20260131.${unkeyed}.0`, repeated: false },
  ])
  const sent = written.flatMap(({ records, partition }) =>
    records.map(({ key, headers }) => ({ partition, key, headers })),
  )
  const headers = { 'millrace-tenant': Buffer.from('acme'), traceparent: Buffer.from('00-a-b-01') }
  expect(sent).toEqual(
    expect.arrayContaining([
      { partition: keyed, key: Buffer.from('key'), headers },
      { partition: unkeyed, key: null, headers },
    ]),
  )
  const silent = start(acknowledged, { tenantHeader: false, pipeline: null })
  expect(await silent.intake.submit([item('label')], BY)).toMatchObject([{ ok: true, requestId: null }])
  expect(silent.written[0]?.records[0]).not.toHaveProperty('headers.millrace-tenant')
})

test('what is not acknowledged in time is not accepted, and waits on', async () => {
  const acknowledge = Promise.withResolvers<void>()
  const clock = steppedClock()
  const { intake, written } = start(() => acknowledge.promise, { clock, publishWithinMs: 500 })
  const submitting = intake.submit([item('one')], BY)
  const refused = expect(submitting).rejects.toMatchObject({ code: 'kafka_unavailable', fate: 'retry' })
  clock.advance(200)
  expect(intake.backlog()).toEqual({ bytes: expect.any(Number), oldestMs: 200 })
  clock.advance(300)
  await refused
  expect(intake.backlog().bytes).toBeGreaterThan(0)
  acknowledge.resolve()
  await expect.poll(() => intake.backlog()).toEqual({ bytes: 0, oldestMs: 0 })
  expect(written).toHaveLength(1)
})

test('above its bytes in flight it refuses at once, one request excepted', async () => {
  const { intake } = start(never, { maxBytesInFlight: 1_000, publishWithinMs: 50 })
  const large = intake.submit([item('large', null, 5_000)], BY)
  await expect(intake.submit([item('next')], BY)).rejects.toMatchObject({ code: 'overloaded', fate: 'retry' })
  await expect(large).rejects.toMatchObject({ code: 'kafka_unavailable' })
})

test('what has to be done before anything is published is done once, and not for what was finished before', async () => {
  const finished: FinishedRequests = {
    find: async (_tenant, key) => (key === 'known' ? ['p.20260131.0.7'] : key === 'reused' ? 'other' : null),
    remember: async () => {},
  }
  const { intake, written } = start(acknowledged, { finished })
  const seen: number[] = []
  const before = async () => void seen.push(written.length)
  const submit = (idempotencyKey: string | null) => intake.submit([item('one')], { ...BY, idempotencyKey }, before)
  expect(await submit('known')).toMatchObject([{ ok: true, repeated: true }])
  await expect(submit('reused')).rejects.toMatchObject({ code: 'idempotency_key_reused' })
  expect(seen).toEqual([])
  await submit('new')
  await submit(null)
  expect(seen).toEqual([0, 1])
  const refused = intake.submit([item('two')], BY, () => Promise.reject(new Error('no')))
  await expect(refused).rejects.toThrow('no')
  expect([written.length, intake.backlog().bytes]).toEqual([2, 0])
})

test('a record that the topic does not take is refused by itself; no right to write ends the intake', async () => {
  const { intake } = start(async ([batch]) => {
    if (batch?.records.some(({ value }) => value.length > 100)) throw rejected('record_too_large', 'too large')
  })
  expect(await intake.submit([item('small'), item('large', null, 200)], BY)).toMatchObject([
    { ok: true },
    { ok: false, problem: { code: 'record_too_large', pointer: '' } },
  ])
  const forbidden = start(() => Promise.reject(fatal('kafka_refused', 'no right to write')))
  const ended = expect(forbidden.intake.ended).rejects.toMatchObject({ code: 'kafka_refused' })
  await expect(forbidden.intake.submit([item('one')], BY)).rejects.toMatchObject({ code: 'kafka_refused' })
  await ended
})

test('a finished request is known by its key and body, of one tenant; a Redis that fails is left alone for a second', async () => {
  const stored = new Map<string, Buffer>()
  let failures = 0
  let isAway = false
  const clock = manualClock()
  const finished = createFinishedRequests({
    redis: {
      getMany: async ([[key = ''] = []]) => {
        if (isAway) throw retryable('redis_unavailable', 'away')
        return [[stored.get(key) ?? null]]
      },
      writeMany: async ([write]) => {
        if (isAway) throw retryable('redis_unavailable', 'away')
        if (write?.op === 'set') stored.set(write.key, Buffer.from(write.value))
      },
    },
    pipeline: 'p',
    what: 'events',
    clock,
    onUnavailable: () => void failures++,
  })
  const { intake, written } = start(acknowledged, { finished })
  const by = { ...BY, idempotencyKey: 'k' }
  const first = await intake.submit([item('one')], by)
  expect(first).toMatchObject([{ ok: true, repeated: false }])
  expect(await intake.submit([item('one')], by)).toEqual([{ ...first[0], repeated: true }])
  await expect(intake.submit([item('two')], by)).rejects.toMatchObject({
    code: 'idempotency_key_reused',
    fate: 'reject',
  })
  expect(await intake.submit([item('two')], { ...by, tenant: 'other' })).toMatchObject([{ ok: true, repeated: false }])
  isAway = true
  expect(await intake.submit([item('one')], by)).toMatchObject([{ ok: true, repeated: false }])
  expect([failures, written.length]).toEqual([1, 3])
  isAway = false
  expect(await intake.submit([item('one')], by)).toMatchObject([{ repeated: false }])
  clock.advance(1_000)
  expect(await intake.submit([item('one')], by)).toMatchObject([{ repeated: true }])
})
