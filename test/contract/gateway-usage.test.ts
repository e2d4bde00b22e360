import { afterAll, beforeAll, expect, test } from 'vitest'
import { gatewayRequestsRows } from '../../sinks/clickhouse/gateway-requests-rows.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database?.drop())

test('usage of a month counts a report once, and a quantile lies in its place of the histogram', async () => {
  const kind = gatewayRequestsRows('billed')
  const latency = (places: Readonly<Record<number, number>>) => Array.from({ length: 38 }, (_, at) => places[at] ?? 0)
  const fact = {
    ...{ pipeline: 'billed', instance: 'one', sequence: 0, minute: Date.UTC(2026, 0, 31, 23, 59), tenant: 'acme' },
    ...{ route: '/v1/pipelines/:p/events', method: 'POST', status: 202, requests: 99, events: 500 },
    ...{ request_bytes: 10, response_bytes: 1, took_ms: 198, latency: latency({ 8: 99 }) },
  }
  const facts = [
    fact,
    fact,
    { ...fact, sequence: 1, status: 503, requests: 1, events: 0, took_ms: 2, latency: latency({ 20: 1 }) },
    { ...fact, instance: 'two' },
    { ...fact, sequence: 2, minute: Date.UTC(2026, 1, 1), requests: 1, events: 7 },
    { ...fact, sequence: 3, tenant: '', status: 401, events: 0, requests: 0, took_ms: 0, latency: latency({}) },
  ]
  const batch = memoryBatch({ topic: 't', partition: 0, records: facts.map(() => ({ timestamp: Date.now() })) })
  const rows = facts.flatMap((one, index) => {
    const result = kind.row(one, batch, index)
    return result.kind === 'row' ? [result.row] : []
  })
  await database.client.insert(kind.table, Object.keys(kind.types), rows)
  expect(rows).toHaveLength(facts.length)
  expect(kind.row({ ...fact, pipeline: 'another' }, batch, 0)).toEqual({ kind: 'skip' })
  const usage = await database.client.rows(
    "SELECT tenant, toString(month) AS month, requests, failed_requests, events FROM gateway_usage WHERE pipeline = 'billed' ORDER BY month",
  )
  expect(usage).toEqual([
    { tenant: 'acme', month: '2026-01-01', requests: '199', failed_requests: '1', events: '1000' },
    { tenant: 'acme', month: '2026-02-01', requests: '1', failed_requests: '0', events: '7' },
  ])
  const took = await database.client.rows(
    "SELECT requests, mean_ms, p50_ms, p99_ms FROM gateway_latency WHERE pipeline = 'billed' ORDER BY hour LIMIT 1",
  )
  expect(took).toEqual([{ requests: '199', mean_ms: 2, p50_ms: 4, p99_ms: 4 }])
})
