import { fatal } from '../../../infra/runtime/errors.ts'
import { SET_BY_HAND } from '../../../infra/runtime/kafka/consumer/lane-source.ts'

/** A chunk that is announced in a commit before it is inserted: whoever takes the partition over finishes the very same. */
export interface Pend {
  /** Offsets [a, b) of the partition; `a` is the offset of the commit itself. */
  readonly a: number
  readonly b: number
  /** How many of the records have a row. */
  readonly rows: number
  /** Of the encoded rows, in their order. */
  readonly hash: string
  /** Counts the tokens: raised when a token was answered OK although its rows are not there. */
  readonly attempt: number
}

/** What is committed with a position. */
export interface SealedMetadata {
  readonly pend: Pend | null
  /** What the writer of the lane's dead letters wants to find again; empty = none. */
  readonly mark: string
  /** Below this offset rows may be there although nothing announces them, because the position was set by hand; 0 = nowhere. */
  readonly readBackBelow: number
}

const VERSION = 1

/*
 * JSON, because people read it in the tools of Kafka:
 *
 *   {"v":1,"pend":[a,b,rows,"hash",attempt],"mark":"…","back":offset}
 *
 * `pend` is absent when nothing is announced, `back` when everything that is there is known
 */
export function encodeMetadata({ pend, mark, readBackBelow }: SealedMetadata): string {
  const announced = pend === null ? {} : { pend: [pend.a, pend.b, pend.rows, pend.hash, pend.attempt] }
  return JSON.stringify({ v: VERSION, ...announced, mark, ...(readBackBelow > 0 ? { back: readBackBelow } : {}) })
}

/**
 * Of what the group has committed at `offset`; empty metadata = a position that no sealed sink has written, or set by hand. Throws
 * `metadata_unreadable` (crash): to go on without knowing what is announced could store rows twice.
 */
export function decodeMetadata(metadata: string, offset: number): SealedMetadata {
  if (metadata === '' || metadata === SET_BY_HAND) return { pend: null, mark: '', readBackBelow: 0 }
  const unreadable = (why: string, cause?: unknown) =>
    fatal('metadata_unreadable', `the metadata committed at offset ${offset} ${why}: ${metadata}`, cause)
  let fields: unknown
  try {
    fields = JSON.parse(metadata)
  } catch (error) {
    throw unreadable('is not of a sink', error)
  }
  if (typeof fields !== 'object' || fields === null) throw unreadable('is not of a sink')
  const { v, pend, mark, back = 0 } = fields as { v?: unknown; pend?: unknown; mark?: unknown; back?: unknown }
  if (v !== VERSION || typeof mark !== 'string') throw unreadable('is of another release')
  if (!Number.isSafeInteger(back)) throw unreadable('is not of a sink')
  const readBackBelow = back as number
  if (pend === undefined) return { pend: null, mark, readBackBelow }
  const [a, b, rows, hash, attempt] = Array.isArray(pend) ? (pend as unknown[]) : []
  const counts = [a, b, rows, attempt]
  if (!counts.every((count) => Number.isSafeInteger(count)) || typeof hash !== 'string') {
    throw unreadable('announces no chunk')
  }
  if (a !== offset || (b as number) <= offset) throw unreadable('announces a chunk of another position')
  const announced = { a: offset, b: b as number, rows: rows as number, hash, attempt: attempt as number }
  return { pend: announced, mark, readBackBelow }
}
