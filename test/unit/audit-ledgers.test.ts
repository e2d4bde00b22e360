import { expect, test } from 'vitest'
import { createEventLedger, type EventLedger, ORIGIN, type OriginColumns } from '../../infra/cli/audit/event-ledger.ts'
import { createFindings, type Findings } from '../../infra/cli/audit/findings.ts'
import { createStoreLedger } from '../../infra/cli/audit/store-ledger.ts'

const TOPICS = {
  events: 'p.events',
  features: 'p.features',
  predictions: 'p.predictions',
  deadLetters: 'p.dead-letters',
}
const NOTHING_LOST = { records: 0, below: 0 }
const ALL_DONE = { processedBelow: 1_000, lost: NOTHING_LOST }

/** Rows at offsets 0, 1, … of an output; a string stands for a kind of origin other than known. */
function rows(origins: readonly (number | keyof typeof ORIGIN)[]): OriginColumns {
  return {
    length: origins.length,
    offsets: Float64Array.from(origins.keys()),
    origins: Float64Array.from(origins, (origin) => (typeof origin === 'number' ? origin : 0)),
    kinds: Uint8Array.from(origins, (origin) => (typeof origin === 'number' ? ORIGIN.known : ORIGIN[origin])),
  }
}

function lane(offsets: readonly number[], range = { from: 0, to: 10 }): { ledger: EventLedger; findings: Findings } {
  const findings = createFindings(3, 5)
  const ledger = createEventLedger(range, TOPICS, findings, 5)
  ledger.events(Float64Array.from(offsets), offsets.length)
  return { ledger, findings }
}

const ignore = (): void => {}
const EXACT = { missing: 0, double: 0, outOfOrder: 0, foreign: 0 }

test('each event with one end is exact; offsets of markers are no events', () => {
  const { ledger, findings } = lane([0, 1, 4, 5])
  ledger.features(rows([0, 4, 5]), 10)
  ledger.predictions(rows([0, 5]), ignore)
  ledger.deadLetters('processors', rows([1]))
  ledger.deadLetters('inference', rows([4]))
  expect(ledger.close(ALL_DONE)).toMatchObject({ events: 4, predicted: 2, deadLettered: 2, inFlight: 0 })
  expect(findings.counts).toEqual(EXACT)
})

test('what no stage has committed yet is in flight, not missing', () => {
  const { ledger, findings } = lane([0, 1, 2, 3])
  ledger.features(rows([0, 1]), 1)
  ledger.predictions(rows([]), ignore)
  expect(ledger.close({ processedBelow: 3, lost: NOTHING_LOST })).toMatchObject({ inFlight: 2 })
  expect(findings.examples).toEqual([
    expect.objectContaining({ fault: 'missing', topic: 'p.events', partition: 3, offset: 0 }),
    expect.objectContaining({ fault: 'missing', offset: 2 }),
  ])
})

test('a second end, of either kind, is double where it stands', () => {
  const { ledger, findings } = lane([0, 1, 2])
  const repeated: number[] = []
  ledger.predictions(rows([0, 1, 1, 2]), (offset) => repeated.push(offset))
  ledger.deadLetters('inference', rows([0, 2, 2]))
  ledger.close(ALL_DONE)
  expect(repeated).toEqual([2])
  expect(findings.counts).toEqual({ ...EXACT, double: 4 })
  expect(findings.examples.map(({ topic, offset }) => `${topic} ${offset}`)).toEqual([
    'p.predictions 2',
    'p.dead-letters 0',
    'p.dead-letters 1',
    'p.dead-letters 2',
  ])
})

test('an output behind a later one is out of order', () => {
  const { ledger, findings } = lane([0, 1, 2, 3])
  ledger.features(rows([0, 2, 1, 3]), 10)
  ledger.predictions(rows([1, 0, 2, 3]), ignore)
  ledger.close(ALL_DONE)
  expect(findings.counts).toEqual({ ...EXACT, outOfOrder: 2 })
  expect(findings.examples.map(({ topic, offset }) => `${topic} ${offset}`)).toEqual([
    'p.features 2',
    'p.predictions 1',
  ])
})

test('outputs of no record, of other bytes or of another topic in the middle are foreign', () => {
  const { ledger, findings } = lane([0, 2, 3])
  ledger.predictions(
    rows(['otherGeneration', 'otherGeneration', 0, 1, 'unreadable', 2, 'aside', 'otherGeneration', 3]),
    ignore,
  )
  const account = ledger.close(ALL_DONE)
  expect(account.ofEarlierTopic).toBe(2)
  expect(findings.counts).toEqual({ ...EXACT, foreign: 3 })
  expect(findings.examples.map(({ offset }) => offset)).toEqual([3, 4, 7])
})

test('outputs of events outside the range are looked at for their order alone', () => {
  const { ledger, findings } = lane([5, 6], { from: 5, to: 7 })
  ledger.predictions(rows([3, 4, 5, 6, 7, 8]), ignore)
  expect(ledger.close(ALL_DONE)).toMatchObject({ events: 2, predicted: 2 })
  expect(findings.counts).toEqual(EXACT)
})

test('vectors that were deleted unread cover as many events as there can have been, no more', () => {
  const { ledger, findings } = lane([0, 1, 2, 3, 4])
  ledger.features(rows([4]), 10)
  ledger.predictions(rows([4]), ignore)
  expect(ledger.close({ processedBelow: 10, lost: { records: 3, below: 4 } })).toMatchObject({ retentionLost: 3 })
  expect(findings.counts).toEqual({ ...EXACT, missing: 1 })
})

test('a replay is shown with its end', () => {
  const { ledger } = lane([0, 1, 2, 3])
  ledger.replay(1, 'p.dead-letters-3-0')
  ledger.replay(2, 'p.dead-letters-3-1')
  ledger.replay(3, 'p.dead-letters-3-2')
  ledger.predictions(rows([0, 1]), ignore)
  ledger.deadLetters('processors', rows([2]))
  const { replays, replayed } = ledger.close({ processedBelow: 3, lost: NOTHING_LOST })
  expect(replayed).toEqual({ predicted: 1, deadLettered: 1, open: 1 })
  expect(replays).toEqual([
    { offset: 1, replayOf: 'p.dead-letters-3-0', end: 'predicted', endOffset: 1 },
    { offset: 2, replayOf: 'p.dead-letters-3-1', end: 'dead-lettered', endOffset: 0 },
    { offset: 3, replayOf: 'p.dead-letters-3-2', end: 'open', endOffset: null },
  ])
})

test('every record of the second ledger is a row, unstored, replaced or not there yet; the rest is a fault', () => {
  const findings = createFindings(0, 9)
  const ledger = createStoreLedger({ from: 10, to: 22 }, { topic: 'p.labels', deadLetters: 'p.dead-letters' }, findings)
  const offsets = [9, 10, 11, 12, 13, 14, 15, 16, 20, 21]
  ledger.records(Float64Array.from(offsets), offsets.length)
  ledger.rows(8, 11)
  ledger.rows(17, 17)
  ledger.unstored(12, 100)
  ledger.unstored(11, 101)
  ledger.unstored(12, 102)
  ledger.repeated(13)
  expect([...ledger.unaccounted(20)]).toEqual([14, 15, 16])
  ledger.superseded(14)
  expect(ledger.close(20)).toEqual({ records: 9, stored: 2, unstored: 1, superseded: 1, inFlight: 2 })
  expect(findings.counts).toEqual({ missing: 2, double: 2, outOfOrder: 0, foreign: 1 })
  expect(findings.examples.map(({ fault, offset }) => `${fault} ${offset}`)).toEqual([
    'double 102',
    'double 11',
    'missing 15',
    'missing 16',
    'foreign 17',
  ])
})

test('faults are counted, and only the first of a kind are kept', () => {
  const findings = createFindings(0, 2)
  const ledger = createStoreLedger({ from: 0, to: 9 }, { topic: 't', deadLetters: 'd' }, findings)
  ledger.records(Float64Array.from(Array(9).keys()), 9)
  ledger.close(9)
  expect(findings.counts.missing).toBe(9)
  expect(findings.examples.map(({ offset }) => offset)).toEqual([0, 1])
})
