import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { rejected, retryable } from '../../infra/runtime/errors.ts'
import type { OutgoingBatch } from '../../infra/runtime/kafka/record-writer.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createApp } from '../../ingest/app.ts'
import type { FinishedRequests } from '../../ingest/intake/finished-requests.ts'
import { startIntake } from '../../ingest/intake/start-intake.ts'
import { createLimits } from '../../ingest/limits/create-limits.ts'
import type { ReadItem } from '../../ingest/mapping/event-reader.ts'
import { bringIn } from '../../ingest/routes/submission.ts'
import { principal } from '../support/principals.ts'

// What a request's events cost its tenant: only what it has brought in itself, however it ends.

const QUOTA = 10
const away = async (): Promise<never> => {
  throw retryable('redis_unavailable', 'it is away')
}

/** `POST /?key=…` brings in an event per character of its body; ones that are `L` are too large for the topic. */
async function gateway(publishWithinMs = 60_000) {
  const broker = { isAway: false }
  const remembered = new Map<string, readonly (string | null)[] | 'other'>()
  const finished: FinishedRequests = {
    find: async (_tenant, key) => remembered.get(key) ?? null,
    remember: async (_tenant, key, _body, ids) => void remembered.set(key, ids),
  }
  let offset = 0
  const intake = startIntake({
    ...{ topic: 'p.events', partitions: 1, pipeline: 'p', tenantHeader: true, lingerMs: 0, publishWithinMs },
    ...{ maxBytesInFlight: 10_000, stopWithinMs: 10, retry: { baseMs: 1, maxMs: 1 }, clock: systemClock, finished },
    onRetry: () => {},
    writer: {
      async write(batches: readonly OutgoingBatch[]) {
        if (broker.isAway) throw retryable('kafka_unavailable', 'away')
        return batches.map((batch) => {
          if (batch.records.some(({ value }) => value?.includes('L'))) throw rejected('record_too_large', 'too large')
          const baseOffset = offset
          offset += batch.records.length
          return { ...batch, baseOffset, appendedAt: Date.UTC(2026, 0, 31) }
        })
      },
    },
  })
  onTestFinished(() => intake.stop())
  const limits = createLimits({
    redis: {
      ...{ getMany: away, getHash: away, transaction: away, writeMany: away, evaluate: away, ping: away, info: away },
      ...{ subscribe: () => () => {}, close: async () => {} },
    },
    replicas: 1,
    clock: systemClock,
    observer: { countsAlone: () => {}, countsTogether: () => {} },
  })
  const who = principal('who', { eventsPerMonth: QUOTA })
  const used: number[] = []
  const app = await createApp({
    ...{ access: { admit: async () => ({ ok: true, principal: who }) }, limits, logger: silentLogger },
    usage: { served: ({ events }) => void used.push(events) },
    ...{ maxBodyBytes: 1_000, headersTimeoutMs: 5_000, requestTimeoutMs: 5_000, maxHeaderBytes: 16_384 },
    maxConnections: 10,
    plugins: [
      (routes) => {
        routes.post('/', { config: { scope: 'ingest' } }, async (request, reply) => {
          const items = [...String(request.body)].map(
            (id): ReadItem => ({ ok: true, id, key: null, value: Buffer.from(`00000${id}`) }),
          )
          const { key = null } = request.query as { key?: string }
          const results = await bringIn(request, reply, { intake: intake.value, limits }, items, key)
          return results.filter(({ ok }) => ok).length
        })
      },
    ],
  })
  onTestFinished(() => app.close())
  return {
    ...{ app, broker, remembered, used },
    async post(body: string, key?: string) {
      const url = key === undefined ? '/' : `/?key=${key}`
      const answer = await app.inject({ method: 'POST', url, headers: { 'content-type': 'text/plain' }, body })
      return { status: answer.statusCode, replayed: answer.headers['idempotent-replayed'] ?? null }
    },
    /** Of the month. */
    async left(): Promise<number> {
      const { ok, standings } = await limits.take(who, { requests: 0, events: 1, bytes: 0 })
      if (!ok) return 0
      await limits.giveBack(who, { requests: 0, events: 1, bytes: 0 })
      return (standings[0]?.remaining ?? 0) + 1
    },
  }
}

test('an outage costs nothing', async () => {
  const { post, left, broker, used } = await gateway(500)
  broker.isAway = true
  for (let turn = 0; turn < 3; turn++) expect((await post('abcde')).status).toBe(503)
  broker.isAway = false
  expect(await left()).toBe(QUOTA)
  expect((await post('abcde')).status).toBe(200)
  expect(await left()).toBe(QUOTA - 5)
  expect(used).toEqual([0, 0, 0, 5])
})

test('a request that comes again costs nothing, is said to have come again, and is answered when the month is used up', async () => {
  const { post, left, used } = await gateway()
  expect(await post('abcdefghij', 'all')).toEqual({ status: 200, replayed: null })
  expect(await post('k')).toMatchObject({ status: 429 })
  expect(await post('abcdefghij', 'all')).toEqual({ status: 200, replayed: 'true' })
  expect(await left()).toBe(0)
  expect(used).toEqual([10, 0, 0])
})

test('a key that was used for another body costs nothing, nor do records that the topic does not take', async () => {
  const { post, left, remembered, used } = await gateway()
  remembered.set('reused', 'other')
  expect(await post('abc', 'reused')).toMatchObject({ status: 422 })
  expect(await left()).toBe(QUOTA)
  expect((await post('L')).status).toBe(200)
  expect(await left()).toBe(QUOTA)
  expect((await post('aLb')).status).toBe(200)
  expect(await left()).toBe(QUOTA - 2)
  expect(used).toEqual([0, 0, 2])
})
