import { expect, test } from 'vitest'
import type { Account } from '../../infra/cli/up/accounting.ts'
import { settleRun } from '../../infra/cli/up/settle-run.ts'
import type { Snapshot } from '../../infra/cli/up/snapshot.ts'
import { problemOf, type RunSummary, summaryLines } from '../../infra/cli/up/summary.ts'
import { frameLine, frameTable } from '../../infra/cli/up/view.ts'

const account: Account = {
  events: 100,
  predicted: 98,
  deadLetters: [{ stage: 'processors', reason: 'distance_out_of_range', count: 2 }],
  missing: 0,
  duplicates: 0,
  labels: 90,
  labelsStored: 90,
  labelsUnstored: 0,
  labelsMissing: 0,
}
const month = { month: '2013-04-01', labelled: 90, auc: 0.88234, accuracy: 0.9 }
const summary: RunSummary = {
  account,
  expectedEvents: 100,
  unlabelled: 10,
  months: [{ ...month, month: '2013-03-01' }, month],
  unseenFrom: '2013-04-01',
  unseen: month,
  spanMs: 2_000,
  latencyMs: { p50: 10.4, p99: 20.6 },
}
const snapshot: Snapshot = {
  at: 3_000,
  written: { events: 500, features: 400, predictions: 300, labels: 0 },
  lag: { processors: 100, inference: 50, sinks: 7 },
  latencyMs: { p50: 12, p99: 12_345 },
  deadLetters: account.deadLetters,
  months: [month],
}
const previous: Snapshot = { ...snapshot, at: 1_000, written: { events: 100, features: 0, predictions: 0, labels: 0 } }
const frame = { snapshot, previous, processes: [], replay: 'replay: 2013-04-02T10:00', unseenFrom: '2013-04-01' }

test('a plain line has rates, lags, latency, dead letters and the last month', () => {
  expect(frameLine(frame)).toBe(
    'events 200/s | features 200/s lag 100 | predictions 150/s lag 50 | stored lag 7 | p50 12 ms p99 12.3 s | dead letters 2 | 2013-04 AUC 0.8823 | replay: 2013-04-02T10:00',
  )
})

test('the table names what is not running and what was started again', () => {
  const processes = [
    { name: 'kafka', state: 'running', restarts: 0 },
    { name: 'sinks', state: 'running', restarts: 2 },
    { name: 'inference', state: 'backing-off', restarts: 1 },
  ]
  expect(frameTable({ ...frame, processes })).toContain(
    '2 running; sinks running, started again 2×; inference backing-off, started again 1×',
  )
})

test('the summary marks the months that the model was trained on and counts both kinds of end', () => {
  const text = summaryLines(summary).join('\n')
  expect(text).toContain('  dead letters    2\n                  2 distance_out_of_range (processors)')
  expect(text).toMatch(/2013-03 +90 {3}AUC 0\.8823 {2}\(trained on\)/)
  expect(text).toMatch(/2013-04 +90 {3}AUC 0\.8823\n/)
  expect(text).toContain('duplicates      0')
  expect(text).toContain('49 predictions/s over 2.0 s')
})

test.each([
  ['events lost before Kafka', { expectedEvents: 101 }, '101 events were sent, 100 are in the topic'],
  ['an event without an end', { account: { ...account, missing: 1 } }, '1 events have neither'],
  ['a row too many', { account: { ...account, duplicates: 1 } }, '1 rows too many'],
  ['a label lost', { account: { ...account, labelsMissing: 4 } }, '4 labels are not stored'],
])('not accounted for: %s', (_, change, problem) => {
  expect(problemOf(summary)).toBeNull()
  expect(problemOf({ ...summary, ...change })).toContain(problem)
})

test('waiting ends as soon as nothing is open, or when it is told to', async () => {
  const open = [5, 3, 0, 0]
  const read = async (): Promise<Account> => ({ ...account, missing: open.shift() ?? -1 })
  const { signal } = new AbortController()
  expect((await settleRun(read, { signal, sleep: async () => {} })).missing).toBe(0)
  expect(open).toEqual([0])
  const stopped = AbortSignal.abort()
  expect(
    (await settleRun(async () => ({ ...account, missing: 9 }), { signal: stopped, sleep: async () => {} })).missing,
  ).toBe(9)
})
