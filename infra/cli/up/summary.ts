import type { Account } from './accounting.ts'
import type { MonthQuality } from './quality.ts'
import { monthLine, qualityText } from './view.ts'

export interface RunSummary {
  readonly account: Account
  /** Events that were to be written, where the replay said how many. */
  readonly expectedEvents: number | null
  /** Events of this run whose label can never come. */
  readonly unlabelled: number | null
  readonly months: readonly MonthQuality[]
  readonly unseenFrom: string | null
  /** Over everything from `unseenFrom` on. */
  readonly unseen: MonthQuality | null
  /** First event appended to last prediction appended, ms. */
  readonly spanMs: number
  /** Kafka's append time of the event to that of its prediction, ms. */
  readonly latencyMs: { readonly p50: number; readonly p99: number } | null
}

/** Null when every record is accounted for, else what is not. */
export function problemOf({ account, expectedEvents }: RunSummary): string | null {
  const problems: string[] = []
  if (expectedEvents !== null && account.events !== expectedEvents) {
    problems.push(`${expectedEvents} events were sent, ${account.events} are in the topic`)
  }
  if (account.missing !== 0) problems.push(`${account.missing} events have neither a prediction nor a dead letter`)
  if (account.duplicates !== 0) problems.push(`${account.duplicates} rows too many after deduplication`)
  if (account.labelsMissing !== 0) problems.push(`${account.labelsMissing} labels are not stored`)
  return problems.length === 0 ? null : problems.join('; ')
}

export function summaryLines(summary: RunSummary): readonly string[] {
  const { account, months, unseenFrom, unseen, spanMs, latencyMs, unlabelled } = summary
  const dead = account.deadLetters.reduce((total, { count }) => total + count, 0)
  const row = (name: string, value: string | number): string => `  ${name.padEnd(16)}${value}`
  return [
    'Summary',
    row('events', account.events),
    row('predictions', account.predicted),
    row('dead letters', dead),
    ...account.deadLetters.map(({ stage, reason, count }) => row('', `${count} ${reason} (${stage})`)),
    row('labels', `${account.labels}${unlabelled === null ? '' : `, ${unlabelled} events will never have one`}`),
    row('missing', account.missing + account.labelsMissing),
    row('duplicates', account.duplicates),
    row(
      'rate',
      spanMs <= 0
        ? '–'
        : `${Math.round((account.predicted * 1_000) / spanMs)} predictions/s over ${(spanMs / 1_000).toFixed(1)} s`,
    ),
    row(
      'latency',
      latencyMs === null
        ? '–'
        : `p50 ${Math.round(latencyMs.p50)} ms, p99 ${Math.round(latencyMs.p99)} ms from event ingested to prediction written`,
    ),
    ...(months.length === 0 ? [] : ['', `  ${'month'.padEnd(10)}${'labelled'.padStart(10)}   quality`]),
    ...months.map((month) => monthLine(month, unseenFrom)),
    ...(unseen === null || unseen.labelled === 0
      ? []
      : [
          row(
            'unseen months',
            `${qualityText(unseen)} on ${unseen.labelled} labelled predictions from ${unseenFrom} on`,
          ),
        ]),
  ]
}
