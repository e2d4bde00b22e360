import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createEventLedger, ORIGIN } from '../../infra/cli/audit/event-ledger.ts'
import { createFindings } from '../../infra/cli/audit/findings.ts'
import { createStoreLedger } from '../../infra/cli/audit/store-ledger.ts'

const TOPICS = { events: 'e', features: 'f', predictions: 'p', deadLetters: 'd' }

type Fate = 'predicted' | 'processors' | 'inference'
interface Log {
  readonly origin: number
  readonly kind: number
}

/** A lane in which everything went well: fates by offset, null where the offset is a marker. */
const lanes = fc.array(fc.option(fc.constantFrom<Fate>('predicted', 'predicted', 'processors', 'inference')), {
  minLength: 1,
  maxLength: 60,
})

function logsOf(fates: readonly (Fate | null)[]) {
  const of = (...wanted: readonly Fate[]): Log[] =>
    [...fates.entries()].flatMap(([origin, fate]) =>
      fate !== null && wanted.includes(fate) ? [{ origin, kind: ORIGIN.known }] : [],
    )
  const events = [...fates.entries()].flatMap(([offset, fate]) => (fate === null ? [] : [offset]))
  const logs = { predictions: of('predicted'), processors: of('processors'), inference: of('inference') }
  return { events, features: of('predicted', 'inference'), ...logs }
}

function audit({ events, ...logs }: ReturnType<typeof logsOf>, cuts: readonly number[] = []) {
  const findings = createFindings(0, 1_000)
  const ledger = createEventLedger({ from: 0, to: 100 }, TOPICS, findings, 5)
  ledger.events(Float64Array.from(events), events.length)
  /** In sets of any size, as fetches bring them. */
  const columns = (log: readonly Log[]) => {
    const ends = [...new Set([...cuts.filter((cut) => cut < log.length), log.length])].sort((a, b) => a - b)
    return ends.map((end, at) => {
      const from = ends[at - 1] ?? 0
      const part = log.slice(from, end)
      return {
        length: part.length,
        offsets: Float64Array.from(part, (_, row) => from + row),
        origins: Float64Array.from(part, ({ origin }) => origin),
        kinds: Uint8Array.from(part, ({ kind }) => kind),
      }
    })
  }
  for (const set of columns(logs.features)) ledger.features(set, 1_000)
  for (const set of columns(logs.predictions)) ledger.predictions(set, () => {})
  for (const set of columns(logs.processors)) ledger.deadLetters('processors', set)
  for (const set of columns(logs.inference)) ledger.deadLetters('inference', set)
  const account = ledger.close({ processedBelow: 1_000, lost: { records: 0, below: 0 } })
  return { account, counts: findings.counts, examples: findings.examples }
}

const NONE = { missing: 0, double: 0, outOfOrder: 0, foreign: 0 }
const OUTPUTS = ['predictions', 'processors', 'inference'] as const

test('a lane in which each event has one end is exact, however it is cut into sets', () => {
  fc.assert(
    fc.property(lanes, fc.array(fc.nat(60)), (fates, cuts) => {
      const logs = logsOf(fates)
      const { account, counts } = audit(logs, cuts)
      expect(counts).toEqual(NONE)
      expect(account.predicted).toBe(logs.predictions.length)
      expect(account.deadLettered).toBe(logs.processors.length + logs.inference.length)
    }),
  )
})

test('each fault that is planted is found, as what it is and nothing else', () => {
  fc.assert(
    fc.property(
      lanes,
      fc.constantFrom('missing', 'double', 'foreign', 'outOfOrder'),
      fc.nat(),
      (fates, fault, seed) => {
        const logs = logsOf(fates)
        const output = OUTPUTS[seed % 3] ?? 'predictions'
        const log = logs[fault === 'outOfOrder' ? 'predictions' : output]
        const at = seed % Math.max(1, log.length)
        const record = log[at]
        fc.pre(record !== undefined)
        if (fault === 'missing') log.splice(at, 1)
        if (fault === 'double') log.splice(at, 0, record)
        if (fault === 'foreign') log.splice(at, 0, { origin: 0, kind: ORIGIN.unreadable })
        if (fault === 'outOfOrder') {
          fc.pre(log.length > 1 && at > 0)
          log.splice(0, 0, ...log.splice(at, 1))
        }
        const { counts, examples } = audit(logs)
        // one record moved to the front makes those behind it late, up to its own place
        expect(counts).toEqual({ ...NONE, [fault]: fault === 'outOfOrder' ? at : 1 })
        expect(examples[0]?.fault).toBe(fault)
        if (fault === 'missing') expect(examples[0]).toMatchObject({ topic: 'e', offset: record.origin })
      },
    ),
  )
})

test('the second ledger: what is planted in rows and letters is found', () => {
  const plan = fc.record({
    records: fc.array(fc.boolean(), { minLength: 1, maxLength: 60 }),
    fault: fc.constantFrom('none', 'missing', 'double', 'foreign'),
    seed: fc.nat(),
  })
  fc.assert(
    fc.property(plan, ({ records, fault, seed }) => {
      const findings = createFindings(0, 100)
      const ledger = createStoreLedger({ from: 0, to: records.length }, { topic: 't', deadLetters: 'd' }, findings)
      const offsets = [...records.entries()].flatMap(([offset, isRecord]) => (isRecord ? [offset] : []))
      const gaps = [...records.entries()].flatMap(([offset, isRecord]) => (isRecord ? [] : [offset]))
      const victim = (fault === 'foreign' ? gaps : offsets)[
        seed % Math.max(1, fault === 'foreign' ? gaps.length : offsets.length)
      ]
      fc.pre(fault === 'none' || victim !== undefined)
      ledger.records(Float64Array.from(offsets), offsets.length)
      for (const offset of offsets) {
        if (fault === 'missing' && offset === victim) continue
        if (offset % 5 === 0) ledger.unstored(offset, offset)
        else ledger.rows(offset, offset)
      }
      if (fault === 'double' && victim !== undefined) {
        if (victim % 5 === 0) ledger.rows(victim, victim)
        else ledger.unstored(victim, 1)
      }
      if (fault === 'foreign' && victim !== undefined) ledger.rows(victim, victim)
      ledger.close(records.length)
      expect(findings.counts).toEqual(fault === 'none' ? NONE : { ...NONE, [fault]: 1 })
      if (fault !== 'none') expect(findings.examples[0]).toMatchObject({ fault, offset: victim })
    }),
  )
})
