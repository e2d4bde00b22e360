import type { Findings } from './findings.ts'

export interface StoreAccount {
  readonly records: number
  readonly stored: number
  /** Dead-lettered by sinks. */
  readonly unstored: number
  /** Labels whose row has given way to a later label of the same event. */
  readonly superseded: number
  /** At or above the position that sinks have committed. */
  readonly inFlight: number
}

/**
 * The second ledger of one lane: every record of a topic that sinks store, in [from, to), and its one row in ClickHouse or its
 * dead letter. Pure, and one byte of memory per offset.
 */
export interface StoreLedger {
  records(offsets: Float64Array, length: number): void
  /** ClickHouse holds a row of each offset from `first` to `last`. */
  rows(first: number, last: number): void
  /** A dead letter says that sinks could not store it. `letter` is its offset. */
  unstored(offset: number, letter: number): void
  /** The record repeats an event's prediction; the table keeps the first. */
  repeated(offset: number): void
  /** Records below `storedBelow` that nothing accounts for, ascending. */
  unaccounted(storedBelow: number): Iterable<number>
  superseded(offset: number): void
  /** Once, at last. Sinks have stored every record below `storedBelow`. */
  close(storedBelow: number): StoreAccount
}

const RECORD = 1
const ROW = 2
const UNSTORED = 4
const REPEATED = 8
const SUPERSEDED = 16
const ENDED = ROW | UNSTORED | REPEATED | SUPERSEDED

export function createStoreLedger(
  range: { readonly from: number; readonly to: number },
  topics: { readonly topic: string; readonly deadLetters: string },
  findings: Findings,
): StoreLedger {
  const { from } = range
  const size = Math.max(0, range.to - from)
  const states = new Uint8Array(size)
  const { topic } = topics

  function mark(offset: number, bit: number): number {
    const at = offset - from
    if (at < 0 || at >= size) return 0
    const state = states[at] as number
    states[at] = state | bit
    return state
  }

  return {
    records(offsets, length) {
      for (let row = 0; row < length; row++) mark(offsets[row] as number, RECORD)
    },
    rows(first, last) {
      for (let offset = Math.max(first, from); offset <= last && offset < from + size; offset++) mark(offset, ROW)
    },
    unstored(offset, letter) {
      const before = mark(offset, UNSTORED)
      if ((before & UNSTORED) !== 0) {
        findings.add(
          'double',
          topics.deadLetters,
          letter,
          `a second dead letter of sinks about ${topic} offset ${offset}`,
        )
      }
    },
    repeated(offset) {
      mark(offset, REPEATED)
    },
    *unaccounted(storedBelow) {
      for (let at = 0; at < size && from + at < storedBelow; at++) {
        const state = states[at] as number
        if ((state & RECORD) !== 0 && (state & ENDED) === 0) yield from + at
      }
    },
    superseded(offset) {
      mark(offset, SUPERSEDED)
    },
    close(storedBelow) {
      const account = { records: 0, stored: 0, unstored: 0, superseded: 0, inFlight: 0 }
      for (let at = 0; at < size; at++) {
        const state = states[at] as number
        const offset = from + at
        if ((state & RECORD) === 0) {
          if ((state & ROW) !== 0)
            findings.add('foreign', topic, offset, 'ClickHouse has a row of it, the log has no record')
          if ((state & UNSTORED) !== 0)
            findings.add('foreign', topic, offset, 'a dead letter is about it, the log has no record')
          continue
        }
        account.records += 1
        if ((state & (ROW | UNSTORED)) === (ROW | UNSTORED)) {
          findings.add('double', topic, offset, 'it has a row in ClickHouse and a dead letter of sinks')
        }
        if ((state & ROW) !== 0) account.stored += 1
        else if ((state & UNSTORED) !== 0) account.unstored += 1
        else if ((state & SUPERSEDED) !== 0) account.superseded += 1
        else if ((state & REPEATED) !== 0) continue
        else if (offset >= storedBelow) account.inFlight += 1
        else findings.add('missing', topic, offset, 'sinks have passed it, and it has neither a row nor a dead letter')
      }
      return account
    },
  }
}
