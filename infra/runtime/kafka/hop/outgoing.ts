import type { DeadLetterEncoding } from '../dead-letters.ts'
import { encodeDeadLetter } from '../dead-letters.ts'
import type { EmittedColumns, Rejection, SealedOutcome } from '../outcome.ts'
import { outgoingColumns } from '../producer/outgoing-columns.ts'
import type { RecordColumns } from '../record-batches/columns.ts'
import type { OutgoingRecord } from '../record-writer.ts'
import { joinRows, rowsBetween } from './output-rows.ts'

/** What is written together: the dead letters first, then the outputs, of a range of input records. */
export interface OutgoingPart {
  readonly deadLetters: RecordColumns | null
  readonly outputs: RecordColumns | null
  /** Input offset below which everything has ended with this part. */
  readonly upTo: number
}

export interface OutgoingLimits {
  /** Uncompressed records of one batch, bytes. */
  readonly outputBatchBytes: number
  readonly deadLetterBatchBytes: number
}

/** Brokers refuse a record batch above `max.message.bytes`: 1,048,588 by default, 2,097,152 for our dead letter topics. */
export const OUTGOING_LIMITS: OutgoingLimits = { outputBatchBytes: 900_000, deadLetterBatchBytes: 2_000_000 }

/** Lengths, deltas and header prefixes of one record. */
const OVERHEAD_BYTES = 48

export interface OutgoingOptions {
  /** Name of the output among those of the outcome; null = the stage writes dead letters alone. */
  readonly output: string | null
  readonly deadLetters: DeadLetterEncoding
  readonly attempts: number
  readonly now: number
  readonly limits: OutgoingLimits
}

export interface Outgoing {
  readonly parts: readonly OutgoingPart[]
  /** With those whose output was too large to be written. */
  readonly rejections: readonly (readonly [index: number, rejection: Rejection])[]
}

/**
 * What a decided batch leaves in the logs, in the order of its records, cut so that a broker takes each part as one record
 * batch per topic. All outputs of a record are in one part, and with them every dead letter of the records before.
 */
export function outgoing(outcome: SealedOutcome, options: OutgoingOptions): Outgoing {
  const { limits, now } = options
  const rows = options.output === null ? null : joinRows(outcome, options.output)
  const oversized = rows === null ? new Map<number, number>() : oversizedSources(rows, limits.outputBatchBytes)
  const rejections = withOversized(outcome, rows, oversized, limits.outputBatchBytes)
  const letters = rejections.map(([index, rejection]) => ({
    index,
    record: encodeDeadLetter(options.deadLetters, outcome.batch, index, rejection, options.attempts),
  }))

  const parts: OutgoingPart[] = []
  let row = 0
  let letter = 0
  while ((rows !== null && row < rows.length) || letter < letters.length) {
    const firstRow = row
    const firstLetter = letter
    let rowBytes = 0
    let letterBytes = 0
    for (;;) {
      const source = rows !== null && row < rows.length ? (rows.sources[row] as number) : Number.POSITIVE_INFINITY
      const next = letters[letter]
      if (next !== undefined && next.index <= source) {
        const bytes = recordBytes(next.record)
        if (letterBytes > 0 && letterBytes + bytes > limits.deadLetterBatchBytes) break
        letterBytes += bytes
        letter += 1
        continue
      }
      if (rows === null || source === Number.POSITIVE_INFINITY) break
      let bytes = 0
      let end = row
      for (; end < rows.length && rows.sources[end] === source; end++) bytes += rowSize(rows, end)
      if (oversized.has(source)) bytes = 0
      if (rowBytes > 0 && rowBytes + bytes > limits.outputBatchBytes) break
      rowBytes += bytes
      row = end
    }
    const nextRow = rows !== null && row < rows.length ? (rows.sources[row] as number) : outcome.settled
    const next = Math.min(nextRow, letters[letter]?.index ?? outcome.settled)
    const outputs = rows === null ? null : rowsBetween(rows, firstRow, row, oversized)
    parts.push({
      deadLetters:
        letter === firstLetter
          ? null
          : outgoingColumns(
              letters.slice(firstLetter, letter).map(({ record }) => record),
              now,
            ),
      outputs: outputs === null ? null : { ...outputs, timestamps: now, headers: null },
      upTo: offsetOf(outcome, next),
    })
  }
  return { parts, rejections }
}

/** Offset of the record at `index`, or behind the last one. */
function offsetOf({ batch }: SealedOutcome, index: number): number {
  return index < batch.length ? batch.offset(index) : batch.offset(batch.length - 1) + 1
}

/** Sources whose outputs do not fit into any batch, with their size. */
function oversizedSources(rows: EmittedColumns, maxBytes: number): Map<number, number> {
  const found = new Map<number, number>()
  let source = -1
  let bytes = 0
  for (let row = 0; row < rows.length; row++) {
    if (rows.sources[row] !== source) {
      source = rows.sources[row] as number
      bytes = 0
    }
    bytes += rowSize(rows, row)
    if (bytes > maxBytes) found.set(source, bytes)
  }
  return found
}

function withOversized(
  outcome: SealedOutcome,
  rows: EmittedColumns | null,
  oversized: ReadonlyMap<number, number>,
  maxBytes: number,
): Outgoing['rejections'] {
  if (rows === null || oversized.size === 0) return outcome.rejections
  const added = [...oversized].map(([index, bytes]) => {
    const message = `the output would be ${bytes} bytes, at most ${maxBytes} can be written`
    const subject = rows.subjectOf(rows.sources.indexOf(index))
    return [index, { ...subject, kind: 'rejected', reason: 'record_too_large', message }] as const
  })
  return [...outcome.rejections, ...added].sort(([a], [b]) => a - b)
}

function rowSize(rows: EmittedColumns, row: number): number {
  return OVERHEAD_BYTES + Math.max(0, rows.keys.lengths[row] as number) + (rows.values.lengths[row] as number)
}

function recordBytes({ key, value, headers }: OutgoingRecord): number {
  let bytes = OVERHEAD_BYTES + (key?.length ?? 0) + value.length
  for (const name in headers) bytes += name.length + (headers[name]?.length ?? 0)
  return bytes
}
