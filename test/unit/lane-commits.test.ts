import { expect, test } from 'vitest'
import { SET_BY_HAND } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import {
  type CommitMetadata,
  encodeCommitMetadata,
  parseCommitMetadata,
} from '../../infra/runtime/kafka/exactly-once/commit-metadata.ts'
import { readCoordinates } from '../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { createPositionLedger } from '../../infra/runtime/kafka/exactly-once/position-ledger.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { outputRecords } from '../support/lanes-on-kafka.ts'
import { seededRandom } from '../support/seeded-random.ts'

// What a lane writes about itself, and reads again.

const SOURCE = '0a0a0a0a-0000-4000-8000-000000000001'
const ORIGIN = '0b0b0b0b-0000-4000-8000-000000000002'
const MAX_METADATA_BYTES = 4_096
const LONGEST_NAME = 'x'.repeat(249)

const outputAt = (source: number, origin: number): Buffer =>
  sliceAt(outputRecords(SOURCE, [source], { generation: ORIGIN, of: () => origin }).values, 0) as Buffer

test('coordinates are read from the bytes of an output', () => {
  for (const [source, origin] of [
    [0, 0],
    [63, 64],
    [8_191, 2 ** 31],
    [2 ** 40, 2 ** 45 + 1],
  ] as const) {
    expect(readCoordinates(outputAt(source, origin))).toEqual({
      sourceGeneration: SOURCE,
      sourceOffset: source,
      originGeneration: ORIGIN,
      originOffset: origin,
    })
  }
})

test('what does not begin like an output has none: cut off anywhere, damaged, or not ours', () => {
  const value = outputAt(1_000, 100_000)
  const whole = readCoordinates(value)
  const end = value.indexOf(Buffer.from(SOURCE)) + SOURCE.length
  for (let length = 0; length <= end; length++) expect(readCoordinates(value.subarray(0, length))).toBeNull()
  const random = seededRandom(7)
  for (let run = 0; run < 20_000; run++) {
    const damaged = Buffer.from(value)
    for (let hits = random.between(1, 3); hits > 0; hits--) damaged[random.between(0, end)] = random.between(0, 255)
    const coordinates = readCoordinates(damaged)
    if (coordinates !== null) expect(Object.keys(coordinates)).toEqual(Object.keys(whole ?? {}))
  }
  expect(readCoordinates(Buffer.from('{"not": "avro"}'))).toBeNull()
})

test('commit metadata comes back as it was, and fits a commit with the longest names', () => {
  const log = { topic: LONGEST_NAME, generation: SOURCE, end: Number.MAX_SAFE_INTEGER }
  const metadata: CommitMetadata = { input: SOURCE, output: log, deadLetters: log, skips: [LONGEST_NAME] }
  const text = encodeCommitMetadata(metadata)
  expect(parseCommitMetadata(text)).toEqual(metadata)
  expect(Buffer.byteLength(text)).toBeLessThan(MAX_METADATA_BYTES)
  const alone: CommitMetadata = { input: SOURCE, output: null, deadLetters: log, skips: [] }
  expect(parseCommitMetadata(encodeCommitMetadata(alone))).toEqual(alone)
})

test('nothing was committed with a first position, or one set by hand; anything else is foreign', () => {
  expect(parseCommitMetadata('')).toBeNull()
  expect(parseCommitMetadata(SET_BY_HAND)).toBeNull()
  const whole = encodeCommitMetadata({
    input: SOURCE,
    output: null,
    deadLetters: { topic: 't', generation: SOURCE, end: 1 },
    skips: [],
  })
  for (const text of [
    'x',
    '1',
    'null',
    '[]',
    '{}',
    whole.slice(0, -1),
    whole.replace('1]', '"1"]'),
    whole.replace('{"v":1', '{"v":2'),
  ]) {
    expect(() => parseCommitMetadata(text)).toThrow(
      expect.objectContaining({ code: 'foreign_position', fate: 'crash' }),
    )
  }
})

test('a position never leads past a batch that a commit does not cover', () => {
  const ledger = createPositionLedger(100)
  expect(ledger.position(0)).toBe(100)
  ledger.writing(10)
  ledger.writing(20)
  ledger.sawEnd(150)
  ledger.writing(30)
  expect([0, 10, 19].map((offset) => ledger.position(offset))).toEqual([100, 100, 100])
  expect(ledger.position(20)).toBe(150)
  expect(ledger.position(30)).toBe(150)
  ledger.sawEnd(200)
  ledger.sawEnd(180)
  expect(ledger.position(30)).toBe(200)
})
