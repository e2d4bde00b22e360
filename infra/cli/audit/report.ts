import type { LaneReport, LetterCount, StoreReport } from './audit-lane.ts'
import { type FaultCounts, isFaulty } from './findings.ts'
import type { AuditResult } from './run-audit.ts'

/** Sums over all lanes, as `--json` has them beside the lanes. */
export interface AuditTotals {
  readonly events: EventTotals
  readonly predictions: StoreTotals
  readonly labels: StoreTotals
  readonly replayed: { readonly predicted: number; readonly deadLettered: number; readonly open: number }
  readonly deadLetters: readonly LetterCount[]
}

interface EventTotals extends FaultCounts {
  readonly events: number
  readonly predicted: number
  readonly deadLettered: number
  readonly retentionLost: number
  readonly inFlight: number
  readonly ofEarlierTopic: number
}

interface StoreTotals extends FaultCounts {
  readonly records: number
  readonly stored: number
  readonly unstored: number
  readonly superseded: number
  readonly inFlight: number
  readonly physicalCopies: number
}

export function totalsOf(lanes: readonly LaneReport[]): AuditTotals {
  const total = <T>(items: readonly T[], of: (item: T) => number): number => items.reduce((sum, it) => sum + of(it), 0)
  const faultsOf = (faults: readonly FaultCounts[]): FaultCounts => ({
    missing: total(faults, ({ missing }) => missing),
    double: total(faults, ({ double }) => double),
    outOfOrder: total(faults, ({ outOfOrder }) => outOfOrder),
    foreign: total(faults, ({ foreign }) => foreign),
  })
  const storeTotals = (reports: readonly (StoreReport | null)[]): StoreTotals => {
    const stores = reports.filter((report) => report !== null)
    return {
      records: total(stores, ({ records }) => records),
      stored: total(stores, ({ stored }) => stored),
      unstored: total(stores, ({ unstored }) => unstored),
      superseded: total(stores, ({ superseded }) => superseded),
      inFlight: total(stores, ({ inFlight }) => inFlight),
      physicalCopies: total(stores, ({ copies }) => copies.physical),
      ...faultsOf(stores.map(({ faults }) => faults)),
    }
  }
  const events = lanes.map((lane) => lane.events)
  return {
    events: {
      events: total(events, (lane) => lane.events),
      predicted: total(events, ({ predicted }) => predicted),
      deadLettered: total(events, ({ deadLettered }) => deadLettered),
      retentionLost: total(events, ({ retentionLost }) => retentionLost),
      inFlight: total(events, ({ inFlight }) => inFlight),
      ofEarlierTopic: total(events, ({ ofEarlierTopic }) => ofEarlierTopic),
      ...faultsOf(events.map(({ faults }) => faults)),
    },
    predictions: storeTotals(lanes.map(({ predictions }) => predictions)),
    labels: storeTotals(lanes.map(({ labels }) => labels)),
    replayed: {
      predicted: total(events, ({ replayed }) => replayed.predicted),
      deadLettered: total(events, ({ replayed }) => replayed.deadLettered),
      open: total(events, ({ replayed }) => replayed.open),
    },
    deadLetters: mergedLetters(lanes),
  }
}

function mergedLetters(lanes: readonly LaneReport[]): readonly LetterCount[] {
  const all = Map.groupBy(
    lanes.flatMap(({ letters }) => letters),
    ({ stage, reason }) => `${stage}\n${reason}`,
  )
  return [...all.values()]
    .map((counts) => ({
      stage: counts[0]?.stage ?? '',
      reason: counts[0]?.reason ?? '',
      count: counts.reduce((sum, { count }) => sum + count, 0),
    }))
    .sort((a, b) => b.count - a.count)
}

const VERDICTS = {
  exact: 'exact: every record is accounted for, once',
  violated: 'VIOLATED: see below',
  unknown: 'could not tell',
} as const

/** What `millrace audit` prints. */
export function auditLines(result: AuditResult): readonly string[] {
  const { lanes, problems } = result
  const totals = totalsOf(lanes)
  const { events, predictions, labels, replayed } = totals
  const row = (name: string, text: string): string => `  ${name.padEnd(14)}${text}`
  const store = (
    name: string,
    { records, stored, unstored, superseded, inFlight, physicalCopies }: StoreTotals,
  ): string =>
    row(
      name,
      [
        `${records} records: ${stored} stored, ${unstored} unstored, ${inFlight} in flight`,
        ...(superseded === 0 ? [] : [`${superseded} replaced by later ones`]),
        ...(physicalCopies === 0 ? [] : [`${physicalCopies} stored again (gone under FINAL)`]),
      ].join(', '),
    )
  const letters = totals.deadLetters.map(({ stage, reason, count }) => `${count} ${reason} (${stage})`).join(', ')
  return [
    `${result.pipeline}  ${VERDICTS[result.verdict]}`,
    row(
      'events',
      `${events.events} records: ${events.predicted} predicted, ${events.deadLettered} dead-lettered, ${events.inFlight} in flight`,
    ),
    ...(letters === '' ? [] : [row('', letters)]),
    ...(events.retentionLost === 0 ? [] : [row('', `${events.retentionLost} deleted unread, as a dead letter says`)]),
    ...(events.ofEarlierTopic === 0
      ? []
      : [row('', `${events.ofEarlierTopic} outputs of an earlier events topic, left out`)]),
    ...(lanes.every((lane) => lane.predictions === null) ? [] : [store('predictions', predictions)]),
    ...(lanes.every((lane) => lane.labels === null) ? [] : [store('labels', labels)]),
    ...(replayed.predicted + replayed.deadLettered + replayed.open === 0
      ? []
      : [
          row(
            'replayed',
            `${replayed.predicted} predicted, ${replayed.deadLettered} dead-lettered again, ${replayed.open} open`,
          ),
        ]),
    ...replayLines(lanes).map((line) => row('', line)),
    ...faultLines(totals).map((line) => row('WRONG', line)),
    ...lanes.flatMap(({ examples, plan }) =>
      examples.map(({ fault, topic, offset, detail }) =>
        row('', `${WORDS[fault]}  ${topic}/${plan.partition} offset ${offset}: ${detail}`),
      ),
    ),
    ...problems.map((problem) => row('UNKNOWN', problem)),
    row('range', 'offsets of events, by partition'),
    ...lanes.map(({ plan: { partition, events: span, limitedBy } }) =>
      row('', `${partition}: ${span.from} to ${span.to}${limitedBy === null ? '' : `, as ${limitedBy} keeps no more`}`),
    ),
  ]
}

const WORDS = { missing: 'missing', double: 'double', outOfOrder: 'out of order', foreign: 'foreign' } as const

function faultLines({ events, predictions, labels }: AuditTotals): readonly string[] {
  const ledgers = { events, 'predictions → ClickHouse': predictions, 'labels → ClickHouse': labels }
  return Object.entries(ledgers).flatMap(([name, { missing, double, outOfOrder, foreign }]) =>
    isFaulty({ missing, double, outOfOrder, foreign })
      ? [`${name}: ${missing} missing, ${double} double, ${outOfOrder} out of order, ${foreign} foreign`]
      : [],
  )
}

/** Each replay from its first dead letter on; a replay that ended as a dead letter goes on with the replay of that. */
function replayLines(lanes: readonly LaneReport[]): readonly string[] {
  return lanes.flatMap(({ plan: { partition }, events: { replays } }) => {
    const letterOf = (offset: number | null): string => `-${partition}-${offset}`
    const continued = new Set(replays.map(({ replayOf }) => replayOf))
    return replays.map(({ offset, replayOf, end, endOffset }) => {
      const text = `${replayOf} → event ${partition}/${offset} → ${end === 'open' ? 'no end yet' : `${end} ${partition}/${endOffset}`}`
      const isReplayed =
        end === 'dead-lettered' && [...continued].some((letter) => letter.endsWith(letterOf(endOffset)))
      return isReplayed ? `${text} → replayed again` : text
    })
  })
}
