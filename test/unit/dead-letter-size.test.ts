import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { encodeDeadLetter } from '../../infra/runtime/kafka/dead-letters.ts'
import type { Rejection } from '../../infra/runtime/kafka/outcome.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'

/** Brokers take a batch of 2 MiB on the dead letter topic; the batch's header and the record's lengths come on top. */
const TAKEN_BYTES = 2_097_152 - 1_000

const type = parseAvroSchema(await readContract('dead-letter'), 'dead-letter')
const decode = type.readerOf(type)

function letterOf(record: MemoryRecord, change: Partial<Rejection> = {}) {
  const clock = { now: () => 1, monotonic: () => 0, sleep: async () => {} }
  const encoding = { stage: 's', pipeline: 'p', type, schemaId: 7, replayOfHeader: 'millrace-replay-of', clock }
  const batch = memoryBatch({ topic: 'foreign', partition: 3, offsets: [41], records: [record] })
  const rejection: Rejection = { kind: 'rejected', reason: 'undecodable', message: 'no', eventId: 'e', ...change }
  const { key, value } = encodeDeadLetter(encoding, batch, 0, rejection, 1)
  return { bytes: (key?.length ?? 0) + value.length, letter: decode(value) as DeadLetter }
}

test('a letter that fits holds the whole record', () => {
  const { letter } = letterOf({
    key: Buffer.alloc(10),
    value: Buffer.alloc(1_800_000),
    headers: { h: Buffer.alloc(9) },
  })
  expect(letter).toMatchObject({ original_bytes: null, event_id: 'e' })
  expect(letter.value).toHaveLength(1_800_000)
})

test('of a record that is too large the letter holds the beginning, its size and its place', () => {
  const value = Buffer.concat([Buffer.from('begin'), Buffer.alloc(5_000_000)])
  const { letter, bytes } = letterOf({ key: Buffer.from('k'), value, headers: { h: Buffer.alloc(9) } })
  expect(bytes).toBeLessThan(TAKEN_BYTES)
  expect(letter).toMatchObject({
    topic: 'foreign',
    partition: 3,
    source_offset: 41,
    original_bytes: 5_000_005 + 1 + 20,
  })
  expect(letter.value.subarray(0, 5).toString()).toBe('begin')
  expect(letter.value.length).toBeGreaterThan(1_800_000)
  expect(Object.keys(letter.headers)).toEqual(['h'])
})

test('whatever is large in a record, its letter fits', () => {
  const huge = Buffer.alloc(3_000_000, 'x')
  const text = '€'.repeat(1_000_000)
  for (const [record, change] of [
    [{ key: huge, value: huge }, {}],
    [{ value: huge, headers: { small: Buffer.from('1'), huge } }, {}],
    [
      { headers: Object.fromEntries(Array.from({ length: 50_000 }, (_, at) => [`header-${at}`, Buffer.alloc(60)])) },
      {},
    ],
    [{ value: huge }, { message: text, tenant: text, eventId: text }],
    [{ value: huge, headers: { 'millrace-replay-of': huge } }, {}],
  ] as const) {
    const { bytes, letter } = letterOf(record, change)
    expect(bytes).toBeLessThan(TAKEN_BYTES)
    expect(letter.original_bytes).toBeGreaterThan(0)
  }
})
