import { expect, test } from 'vitest'
import { TENANT_HEADER } from '../../schemas/headers.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { labelRows } from '../../sinks/clickhouse/label-rows.ts'
import { stageMetricsRows } from '../../sinks/clickhouse/stage-metrics-rows.ts'
import { tableKeyOf } from '../../sinks/online/table-rows.ts'
import { memoryBatch } from '../support/memory-kafka.ts'

const AT = 1_363_305_600_000
const batch = memoryBatch({
  topic: 'flights.labels',
  partition: 2,
  offsets: [40],
  records: [{ timestamp: 5, headers: { [TENANT_HEADER]: Buffer.from('acme') } }],
  generation: 'labels-id',
})

function labelRow(
  record: Record<string, unknown>,
  value: (record: never) => unknown = () => true,
  withdrawable = false,
) {
  const label = { idField: 'id', timeField: 'at', value: value as () => boolean, withdrawable }
  return labelRows({ pipeline: 'flights', label, tenant: { from: 'header' } }).row(record, batch, 0)
}

test.each([
  [true, { kind: 'boolean', value: 1, class: '' }],
  [false, { kind: 'boolean', value: 0, class: '' }],
  [-2.5, { kind: 'number', value: -2.5, class: '' }],
  ['late', { kind: 'class', value: Number.NaN, class: 'late' }],
])('a label of %j becomes a row with where it was read', (truth, expected) => {
  expect(labelRow({ id: 17, at: AT }, () => truth)).toEqual({
    kind: 'row',
    origin: { tenant: 'acme', eventId: '17', origin: null },
    row: {
      pipeline: 'flights',
      tenant: 'acme',
      event_id: '17',
      ...expected,
      label_time: AT,
      written_at: 5,
      kafka_generation: 'labels-id',
      kafka_partition: 2,
      kafka_offset: 40,
    },
  })
})

test('a label without a truth withdraws what was said where its schema knows null, and is none elsewhere', () => {
  const of = (value: unknown, withdrawable: boolean) => labelRow({ id: 'a', at: AT }, () => value, withdrawable)
  expect(of(null, true)).toMatchObject({
    kind: 'row',
    row: { event_id: 'a', kind: 'withdrawn', value: Number.NaN, class: '', label_time: AT, kafka_offset: 40 },
  })
  const noTruth = { kind: 'rejection', rejection: { kind: 'unstored', reason: 'no_truth', eventId: 'a' } }
  expect(of(null, false)).toMatchObject(noTruth)
  // forgotten, not withdrawn
  expect(of(undefined, true)).toMatchObject(noTruth)
})

const UNSTORED: readonly (readonly [string, Record<string, unknown>, () => unknown])[] = [
  ['missing_id', { id: '', at: AT }, () => true],
  ['invalid_time', { id: 'a', at: null }, () => true],
  ['non_finite', { id: 'a', at: AT }, () => Number.NaN],
  ['no_truth', { id: 'a', at: AT }, () => null],
  ['step_error', { id: 'a', at: AT }, () => ({})],
  ['step_error', { id: 'a', at: AT }, () => JSON.parse('no JSON')],
]
test.each(UNSTORED)('a label that is no truth is unstored: %s', (reason, record, value) => {
  const result = labelRow(record, value)
  expect(result).toMatchObject({
    kind: 'rejection',
    rejection: { kind: 'unstored', reason, origin: null, tenant: 'acme' },
  })
})

test("what a pipeline's own code throws once is tried again", () => {
  let calls = 0
  const result = labelRow({ id: 'a', at: AT }, () => {
    calls += 1
    if (calls === 1) throw new Error('once')
    return true
  })
  expect(result.kind).toBe('row')
})

test('stage metrics of another pipeline are left to its own sinks', () => {
  const record = {
    pipeline: 'orders',
    stage: 'inference',
    instance: 'i',
    at: AT,
    interval_ms: 1_000,
    records_in: 1,
    records_out: 1,
    dead_letters: 0,
    batches: 1,
    retries: 0,
    busy_ms: 0.5,
    largest_batch: 1,
    released_full: 0,
    released_drained: 1,
    released_deadline: 0,
    released_linger: 0,
    longest_wait_ms: 0.1,
    mean_fill: 0.5,
    ready_epoch: 3,
  }
  expect(stageMetricsRows('flights').row(record, batch, 0)).toEqual({ kind: 'skip' })
  expect(stageMetricsRows('orders').row(record, batch, 0)).toMatchObject({ kind: 'row', row: { kafka_offset: 40 } })
})

test("a table row's Kafka key is the text of its key fields, a tombstone's says which row it deletes", () => {
  const table = { keyFields: ['origin', 'hour'] }
  const row = { origin: 'E|R', hour: AT, temp: 1 }
  const text = tableKeyText(['E|R', AT])
  const key = Buffer.from(text)
  expect(tableKeyOf(table, key, row)).toEqual({ ok: true, text })
  expect(tableKeyOf(table, key, null)).toEqual({ ok: true, text })
  expect(tableKeyOf(table, Buffer.from('EWR'), row)).toMatchObject({ ok: false, reason: 'table_key_mismatch' })
  expect(tableKeyOf(table, Buffer.from([0xff]), null)).toMatchObject({ ok: false, reason: 'table_key_mismatch' })
  expect(tableKeyOf(table, null, row)).toMatchObject({ ok: false, reason: 'missing_key' })
  expect(tableKeyOf(table, key, { ...row, hour: null })).toMatchObject({ ok: false, reason: 'missing_key' })
})
