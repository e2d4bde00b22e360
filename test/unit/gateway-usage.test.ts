import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import { createRequestFacts, latencyPlace } from '../../ingest/usage/request-facts.ts'
import { startUsage } from '../../ingest/usage/start-usage.ts'
import type { ServedRequest } from '../../ingest/usage/usage.ts'
import { createUsageMetrics } from '../../ingest/usage/usage-metrics.ts'
import type { GatewayRequests } from '../../schemas/generated/records.ts'

const MINUTE = 60_000
const START = 1_700_000_000_000 - (1_700_000_000_000 % MINUTE)
const REQUEST: ServedRequest = {
  route: '/v1/pipelines/:p/events',
  method: 'POST',
  tenant: 'acme',
  status: 202,
  requestBytes: 100,
  responseBytes: 20,
  events: 2,
  tookMs: 3,
}

const factsOf = (maxFacts: number) => createRequestFacts({ pipeline: 'flights', instance: 'one', maxFacts })

test('requests of one kind and minute are one fact', () => {
  const facts = factsOf(10)
  for (const change of [{}, { tookMs: 0.1 }, { status: 503, events: 0 }, { tenant: null }]) {
    expect(facts.add({ ...REQUEST, ...change }, START + 59_999)).toBe(true)
  }
  expect(facts.add(REQUEST, START + MINUTE)).toBe(true)
  const taken = facts.take()
  expect(
    taken.map(({ sequence, minute, tenant, status, requests }) => [sequence, minute, tenant, status, requests]),
  ).toEqual([
    [0, START, 'acme', 202, 2],
    [1, START, 'acme', 503, 1],
    [2, START, '', 202, 1],
    [3, START + MINUTE, 'acme', 202, 1],
  ])
  const [first] = taken
  expect(first).toMatchObject({ events: 4, request_bytes: 200, response_bytes: 40, took_ms: 3.1 })
  expect(first?.latency.flatMap((count, place) => (count > 0 ? [[place, count]] : []))).toEqual([
    [0, 1],
    [8, 1],
  ])
  expect(facts.take()).toEqual([])
})

test('a place of the histogram ends at its bound', () => {
  expect([0, 0.25, 0.26, 0.5, 0.51, 65_536, 65_537, 1e9, Number.NaN].map(latencyPlace)).toEqual([
    0, 0, 1, 2, 3, 36, 37, 37, 0,
  ])
})

test('beyond the bound minutes are summed, and only a new kind is refused', () => {
  const facts = factsOf(3)
  facts.waiting = 2
  expect(facts.add(REQUEST, START)).toBe(true)
  expect(facts.add(REQUEST, START + 7 * MINUTE)).toBe(true)
  expect(facts.add({ ...REQUEST, tenant: 'other' }, START)).toBe(false)
  expect(facts.take()).toMatchObject([{ minute: START, requests: 2 }])
})

/** Kafka that is there or not, and time that passes when it is told to. */
async function startMeter(options: { readonly stopWithinMs?: number } = {}) {
  const type = parseAvroSchema(await readContract('gateway-requests'), 'gateway-requests')
  const read = type.readerOf(type)
  const written: GatewayRequests[][] = []
  const broker = { problem: null as Error | null, tries: 0 }
  const writer: RecordWriter = {
    async write([batch]) {
      broker.tries += 1
      const facts = batch?.records.map(({ value }) => read(value) as GatewayRequests) ?? []
      if (broker.problem !== null) throw broker.problem
      written.push(facts)
      return []
    },
  }
  const sleepers: (() => void)[] = []
  const clock: Clock = {
    now: () => START,
    monotonic: () => 0,
    sleep: (_ms, signal) =>
      new Promise((resolve) => {
        sleepers.push(resolve)
        signal?.addEventListener('abort', () => resolve())
      }),
  }
  const metrics = createMetrics({})
  const usage = startUsage({
    ...{ pipeline: 'flights', instance: 'one', metrics, writer, type, schemaId: 1, clock, logger: silentLogger },
    ...{ intervalMs: MINUTE, stopWithinMs: options.stopWithinMs ?? 5_000, maxFacts: 1 },
  })
  const minutePasses = async (): Promise<void> => {
    const tries = broker.tries
    sleepers.splice(0).forEach((wake) => {
      wake()
    })
    await expect.poll(() => broker.tries).toBe(tries + 1)
    await expect.poll(() => sleepers.length).toBe(1)
  }
  return { usage, metrics, written, broker, minutePasses }
}

test('facts that could not be written are written again, in the same records, and the rest at the stop', async () => {
  const { usage, metrics, written, broker, minutePasses } = await startMeter()
  usage.value.served(REQUEST)
  broker.problem = retryable('kafka_unavailable', 'away')
  await minutePasses()
  usage.value.served({ ...REQUEST, status: 400 })
  broker.problem = null
  await minutePasses()
  expect(written).toMatchObject([[{ sequence: 0, status: 202, requests: 1, events: 2 }]])
  expect((await metrics.expose()).text).toContain('millrace_gateway_uncounted_requests_total 1')
  usage.value.served({ ...REQUEST, status: 429 })
  await usage.stop()
  expect(written[1]).toMatchObject([{ sequence: 1, status: 429, requests: 1 }])
})

test('a stop without Kafka ends in time', async () => {
  const { usage, broker, written } = await startMeter({ stopWithinMs: 30 })
  broker.problem = retryable('kafka_unavailable', 'away')
  usage.value.served(REQUEST)
  await usage.stop()
  expect(written).toEqual([])
})

test('metrics have as many tenants as they may, and one for all others', async () => {
  const metrics = createMetrics({})
  const usage = createUsageMetrics(metrics, 2)
  for (const tenant of ['a', 'b', 'c', 'd', 'a', null]) usage.served({ ...REQUEST, tenant })
  const { text } = await metrics.expose()
  const counts = [...text.matchAll(/^millrace_gateway_requests_total\{.*tenant="(\w+)"\} (\d+)$/gm)]
  expect(counts.map(([, tenant, count]) => [tenant, count])).toEqual([
    ['a', '2'],
    ['b', '1'],
    ['other', '2'],
    ['none', '1'],
  ])
})
