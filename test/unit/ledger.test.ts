import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { checkLane, type LaneLogs, type LogColumns } from '../support/ledger/lane-ledger.ts'
import { collectDeadLetters, collectEvents, collectVectors, hashOfId } from '../support/ledger/record-columns.ts'
import { predictionOf } from '../support/predictions.ts'
import { columnsOf } from '../support/record-columns.ts'

type Row = readonly [offset: number, id: string, origin: number, source: number]

function columns(rows: readonly Row[]): LogColumns {
  return {
    offsets: Float64Array.from(rows, ([offset]) => offset),
    ids: Uint32Array.from(rows, ([, id]) => (id === '' ? 0 : hashOfId(id))),
    origins: Float64Array.from(rows, ([, , origin]) => origin),
    sources: Float64Array.from(rows, ([, , , source]) => source),
  }
}

interface Plan {
  readonly events: readonly (readonly [offset: number, id: string])[]
  readonly features: readonly Row[]
  readonly predictions: readonly Row[]
  readonly deadLetters: readonly (readonly [...Row, stage: 0 | 1 | 2])[]
  readonly rows: readonly number[]
  readonly deadRows: readonly number[]
}

/** Five events, with markers between the outputs: three predicted, one rejected by processors, one by inference. */
const SOUND: Plan = {
  events: [
    [10, 'a'],
    [11, 'b'],
    [12, 'c'],
    [13, 'd'],
    [14, 'e'],
  ],
  features: [
    [1, 'a', 10, 10],
    [2, 'c', 12, 12],
    [4, 'd', 13, 13],
    [5, 'e', 14, 14],
  ],
  predictions: [
    [7, 'a', 10, 1],
    [9, 'd', 13, 4],
    [10, 'e', 14, 5],
  ],
  deadLetters: [
    [3, 'b', 11, 11, 0],
    [5, 'c', 12, 2, 1],
    [6, 'e', 14, 10, 2],
  ],
  rows: [7, 9],
  deadRows: [3, 5, 6],
}

function check(change: Partial<Plan>) {
  const plan = { ...SOUND, ...change }
  const logs: LaneLogs = {
    partition: 0,
    events: columns(plan.events.map(([offset, id]) => [offset, id, -1, -1])),
    features: columns(plan.features),
    predictions: columns(plan.predictions),
    deadLetters: {
      ...columns(plan.deadLetters.map(([offset, id, origin, source]) => [offset, id, origin, source])),
      writer: Uint8Array.from(plan.deadLetters, ([, , , , stage]) => stage),
      writers: [
        { stage: 'processors', input: 'events' },
        { stage: 'inference', input: 'features' },
        { stage: 'sinks', input: 'predictions' },
      ],
    },
    stored: { predictions: Float64Array.from(plan.rows), deadLetters: Float64Array.from(plan.deadRows) },
  }
  const { found, examples, ...counts } = checkLane(logs)
  return { counts, found: Object.fromEntries(Object.entries(found).filter(([, count]) => count > 0)), examples }
}

test('a sound lane has nothing irregular', () => {
  expect(check({})).toEqual({
    counts: { events: 5, features: 4, predictions: 3, deadLetters: 3, unstored: 1 },
    found: {},
    examples: [],
  })
})

const { events, features, predictions, deadLetters } = SOUND
const without = <T>(rows: readonly T[], index: number): readonly T[] => rows.filter((_, each) => each !== index)

test.each<[what: string, change: Partial<Plan>, found: Record<string, number>]>([
  ['an event that nobody ended', { events: [...events, [15, 'f']] }, { missing: 1 }],
  ['a prediction lost', { predictions: without(predictions, 0), rows: [9] }, { missing: 2 }],
  ['a dead letter lost', { deadLetters: without(deadLetters, 0), deadRows: [5, 6] }, { missing: 1 }],
  ['an event predicted twice', { predictions: [...predictions, [11, 'e', 14, 5]], rows: [7, 9, 11] }, { duplicate: 1 }],
  [
    'an early event predicted again',
    { predictions: [...predictions, [11, 'a', 10, 1]], rows: [7, 9, 11] },
    { duplicate: 1, out_of_order: 1 },
  ],
  [
    'a vector written twice, both used',
    { features: [...features, [6, 'e', 14, 14]], predictions: [...predictions, [12, 'e', 14, 6]], rows: [7, 9, 12] },
    { duplicate: 2 },
  ],
  [
    'a dead letter written twice',
    { deadLetters: [...deadLetters, [7, 'b', 11, 11, 0]], deadRows: [3, 5, 6, 7] },
    { duplicate: 1 },
  ],
  [
    'predicted and rejected',
    { deadLetters: [...deadLetters, [7, 'd', 13, 13, 0]], deadRows: [3, 5, 6, 7] },
    { double: 1 },
  ],
  [
    'two predictions exchanged',
    {
      predictions: [
        [7, 'd', 13, 4],
        [9, 'a', 10, 1],
        [10, 'e', 14, 5],
      ],
    },
    { out_of_order: 1 },
  ],
  [
    'dead letters exchanged',
    { deadLetters: [[3, 'd', 13, 13, 0], [4, 'b', 11, 11, 0], ...deadLetters.slice(1)], deadRows: [3, 4, 5, 6] },
    { out_of_order: 1, double: 1 },
  ],
  ['a prediction of no vector', { predictions: [...predictions, [11, 'x', 14, 9]], rows: [7, 9, 11] }, { foreign: 1 }],
  [
    'a vector of another making of the topic',
    { features: [...features, [6, 'a', 10, -1]] },
    { foreign: 1, missing: 1 },
  ],
  [
    'a prediction with the id of another event',
    { predictions: [[7, 'b', 10, 1], ...predictions.slice(1)] },
    { mistaken: 1 },
  ],
  [
    'a prediction with the origin of another event',
    { predictions: [[7, 'a', 11, 1], ...predictions.slice(1)] },
    { mistaken: 2, double: 1, missing: 1 },
  ],
  ['a row lost', { rows: [7] }, { missing: 1 }],
  ['a row twice', { rows: [7, 9, 9] }, { duplicate: 1 }],
  ['a row of no record', { rows: [7, 9, 40] }, { foreign: 1 }],
  ['a row and a letter that says there is none', { rows: [7, 9, 10] }, { double: 1 }],
  ['a dead letter without its row', { deadRows: [3, 5] }, { missing: 1 }],
])('%s', (_, change, found) => {
  const verdict = check(change)
  expect(verdict.found).toEqual(found)
  expect(verdict.examples.length).toBeGreaterThan(0)
})

function setOf(offset: number, value: Buffer): RecordSet {
  const { keys, values } = columnsOf([{ timestamp: 0, key: null, value, headers: [] }])
  const empty = { bytes: Buffer.alloc(0), starts: new Int32Array(1), lengths: new Int32Array(1) }
  return {
    length: 1,
    keys,
    values,
    headers: empty,
    offsets: Float64Array.of(offset),
    timestamps: Float64Array.of(0),
    markers: [],
    nextOffset: offset + 1,
  }
}

test('coordinates are read from the values as the contracts write them', async () => {
  const prediction = parseAvroSchema(await readContract('prediction'), 'prediction')
  const large = 5_000_000_000
  const value = { event_id: 'id-ä', traceparent: 'x', origin_generation: 'e', source_generation: 'f' }
  const vectors = collectVectors('e', 'f')
  vectors.add(setOf(large, prediction.encode(1, predictionOf({ ...value, origin_offset: large, source_offset: 3 }))))
  vectors.add(setOf(large + 2, prediction.encode(1, predictionOf({ ...value, source_generation: 'old' }))))
  expect(vectors.columns()).toEqual(
    columns([
      [large, 'id-ä', large, 3],
      [large + 2, 'id-ä', 7, -1],
    ]),
  )

  const type = parseAvroSchema(await readContract('dead-letter'), 'dead-letter')
  const letter: DeadLetter = {
    stage: 'processors',
    pipeline: 'p',
    reason: 'r',
    kind: 'rejected',
    message: 'm',
    tenant: 't',
    event_id: null,
    topic: 'p.events',
    partition: 1,
    source_generation: 'e',
    source_offset: 12,
    origin_generation: '',
    origin_offset: -1,
    schema_id: null,
    key: null,
    value: Buffer.from('v'),
    headers: {},
    attempts: 1,
    failed_at: 0,
    replay_of: null,
    original_bytes: null,
  }
  const letters = collectDeadLetters(
    new Map([
      ['p.events', 'events'],
      ['p.features', 'features'],
    ]),
    { events: 'e', features: 'f' },
  )
  letters.add(setOf(0, type.encode(1, letter)))
  letters.add(
    setOf(
      1,
      type.encode(1, {
        ...letter,
        stage: 'inference',
        topic: 'p.features',
        event_id: 'i',
        source_generation: 'f',
        origin_generation: 'e',
        origin_offset: 11,
      }),
    ),
  )
  expect(letters.columns()).toEqual({
    ...columns([
      [0, '', -1, 12],
      [1, 'i', 11, 12],
    ]),
    writer: Uint8Array.of(0, 1),
    writers: [
      { stage: 'processors', input: 'events' },
      { stage: 'inference', input: 'features' },
    ],
  })

  const events = collectEvents()
  events.add(setOf(4, prediction.encode(1, predictionOf(value))))
  events.add(setOf(5, Buffer.from('no Avro at all')))
  expect(events.columns()).toEqual({ offsets: Float64Array.of(4, 5), ids: Uint32Array.of(hashOfId('id-ä'), 0) })
})
