import { corrupt } from './errors.ts'
import { checkCount, createColumns, type RecordsSection, readRecords } from './records.ts'

/** From a Fetch response: a transaction of which the fetched range holds records, and which was aborted. */
export interface AbortedTransaction {
  readonly producerId: bigint
  readonly firstOffset: number
}

/** A control record: the end of a transaction, written by its coordinator. It takes an offset and is no record. */
export interface TransactionMarker {
  readonly kind: 'commit' | 'abort'
  readonly offset: number
  readonly producerId: bigint
  readonly producerEpoch: number
}

const KINDS = ['abort', 'commit'] as const

/**
 * The marker in a control batch; null for another kind of control record, or when compaction took it away.
 *
 *   key: version INT16 = 0, type INT16 (0 abort, 1 commit)
 */
export function readMarkerKind(section: RecordsSection): TransactionMarker['kind'] | null {
  checkCount(section)
  const columns = createColumns(section.count)
  readRecords(section, columns, section.baseOffset)
  if (section.count === 0) return null
  if ((columns.keyLengths[0] as number) < 4) throw corrupt('a control record without a type')
  return KINDS[section.bytes.readInt16BE((columns.keyStarts[0] as number) + 2)] ?? null
}

/** Which batches of a record set belong to aborted transactions, asked batch by batch in offset order. */
export interface AbortFilter {
  /** Of a transactional batch. */
  isAborted(producerId: bigint, lastOffset: number): boolean
  /** At an abort marker: what the producer writes after it is another transaction. */
  end(producerId: bigint, lastOffset: number): void
}

export function createAbortFilter(aborted: readonly AbortedTransaction[]): AbortFilter {
  const upcoming = aborted.toSorted((a, b) => b.firstOffset - a.firstOffset)
  const open = new Set<bigint>()
  const openUpTo = (lastOffset: number): void => {
    for (let next = upcoming.at(-1); next !== undefined && next.firstOffset <= lastOffset; next = upcoming.at(-1)) {
      open.add(next.producerId)
      upcoming.pop()
    }
  }
  return {
    isAborted(producerId, lastOffset) {
      openUpTo(lastOffset)
      return open.has(producerId)
    },
    end(producerId, lastOffset) {
      openUpTo(lastOffset)
      open.delete(producerId)
    },
  }
}
