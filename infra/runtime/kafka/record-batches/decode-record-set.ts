import { type BatchHeader, baseOffsetAt, batchEnd, RECORDS_AT, readBatchHeader, readProducer } from './batch-header.ts'
import { decompress } from './codecs/compression.ts'
import type { RecordColumns, Slices } from './columns.ts'
import { crc32c } from './crc32c.ts'
import { corrupt, RecordsError, UnreadableError } from './errors.ts'
import { type ColumnBuilder, checkCount, createColumns, type RecordsSection, readRecords } from './records.ts'
import { type AbortedTransaction, createAbortFilter, readMarkerKind, type TransactionMarker } from './transactions.ts'

export interface DecodeOptions {
  /** The offset that was asked for: a broker sends the whole batch that holds it, the records before are left out. */
  readonly from: number
  /**
   * From the Fetch response. A batch that reaches it is left for the next fetch: the broker notes the mark before it reads, so the records
   * that were just appended may lie above it; and since the checksum does not cover a batch's own offset, a damaged one could otherwise
   * move the position over records.
   */
  readonly highWatermark: number
  /** What the Fetch response lists for read_committed; null = read_uncommitted, nothing is filtered. */
  readonly aborted: readonly AbortedTransaction[] | null
  /** The most that one batch may decompress to, and about the most in all: batches after that are left for the next fetch. */
  readonly maxDecompressedBytes: number
}

/** Decoded records, in offset order. Keys, values and headers lie in the bytes that were decoded unless compressed. */
export interface RecordSet extends RecordColumns {
  /** Ascending, with gaps. */
  readonly offsets: Float64Array
  /** Log append time where the topic has it. */
  readonly timestamps: Float64Array
  readonly headers: Slices
  /** Commits and aborts of transactions from `from` on, ascending. */
  readonly markers: readonly TransactionMarker[]
  /** Where to fetch next: above every batch that was complete, whether it had records, markers or neither. */
  readonly nextOffset: number
}

const MAX_DECOMPRESSED_BYTES = 2 ** 28
const MAX_INPUT_BYTES = 2 ** 30

/**
 * Decodes the records of one partition in a Fetch response. A last batch that is cut off is left out: with nothing else
 * in the bytes, `nextOffset` stays at `from` and the fetch has to ask for more, or again. Throws a `RecordsError`, and nothing else,
 * for bytes that are not records; a RangeError for options or sizes out of range (decompressed 256 MiB, input 1 GiB).
 */
export function decodeRecordSet(bytes: Buffer, options: DecodeOptions): RecordSet {
  const { from, maxDecompressedBytes } = options
  if (!(maxDecompressedBytes > 0 && maxDecompressedBytes <= MAX_DECOMPRESSED_BYTES)) {
    throw new RangeError(`maxDecompressedBytes is ${maxDecompressedBytes}, at most ${MAX_DECOMPRESSED_BYTES}`)
  }
  if (bytes.length > MAX_INPUT_BYTES) throw new RangeError(`${bytes.length} bytes of records`)
  let reading = from
  try {
    const filter = options.aborted === null ? null : createAbortFilter(options.aborted)
    const sections: RecordsSection[] = []
    const markers: TransactionMarker[] = []
    let nextOffset = from
    let minOffset = 0
    let capacity = 0
    let decompressedBytes = 0
    for (let start = 0; start < bytes.length; ) {
      reading = baseOffsetAt(bytes, start) ?? nextOffset
      const end = batchEnd(bytes, start)
      if (end === null) break
      const batch = readBatchHeader(bytes, start, end, crc32c)
      if (batch.lastOffset >= options.highWatermark) break
      if (batch.baseOffset < minOffset) throw corrupt(`the batch before it ends at offset ${minOffset - 1}`)
      if (decompressedBytes >= maxDecompressedBytes) break
      start = end
      minOffset = batch.lastOffset + 1
      nextOffset = Math.max(nextOffset, minOffset)
      if (batch.control) {
        const marker = readMarker(bytes, batch, maxDecompressedBytes)
        if (marker?.kind === 'abort') filter?.end(marker.producerId, batch.lastOffset)
        if (marker !== null && marker.offset >= from) markers.push(marker)
        continue
      }
      const aborted =
        filter !== null &&
        batch.transactional &&
        filter.isAborted(readProducer(bytes, batch.start).id, batch.lastOffset)
      if (aborted || batch.lastOffset < from || batch.count === 0) continue
      const section = sectionOf(bytes, batch, maxDecompressedBytes)
      if (section.bytes !== bytes) decompressedBytes += section.bytes.length
      checkCount(section)
      capacity += section.count
      sections.push(section)
    }

    const columns = createColumns(capacity)
    const joined = inOneBuffer(bytes, sections)
    for (const section of joined.sections) {
      reading = section.baseOffset
      readRecords(section, columns, from)
    }
    return recordSet(joined.bytes, columns, markers, nextOffset)
  } catch (error) {
    throw error instanceof UnreadableError ? new RecordsError(reading, error) : error
  }
}

function readMarker(bytes: Buffer, batch: BatchHeader, maxDecompressedBytes: number): TransactionMarker | null {
  const kind = readMarkerKind(sectionOf(bytes, batch, maxDecompressedBytes))
  if (kind === null) return null
  const { id: producerId, epoch: producerEpoch } = readProducer(bytes, batch.start)
  return { kind, offset: batch.lastOffset, producerId, producerEpoch }
}

function sectionOf(bytes: Buffer, batch: BatchHeader, maxDecompressedBytes: number): RecordsSection {
  const { count, baseOffset, lastOffset, baseTimestamp, codec } = batch
  const timestamp = batch.logAppendTime ? batch.maxTimestamp : null
  const start = batch.start + RECORDS_AT
  if (codec === 0) return { bytes, start, end: batch.end, count, baseOffset, lastOffset, baseTimestamp, timestamp }
  const content = decompress(codec, bytes.subarray(start, batch.end), maxDecompressedBytes)
  return { bytes: content, start: 0, end: content.length, count, baseOffset, lastOffset, baseTimestamp, timestamp }
}

/** So that positions count in one buffer: copies the sections together unless they lie in one. */
function inOneBuffer(
  input: Buffer,
  sections: readonly RecordsSection[],
): { readonly bytes: Buffer; readonly sections: readonly RecordsSection[] } {
  const bytes = sections[0]?.bytes ?? input
  if (sections.every((section) => section.bytes === bytes)) return { bytes, sections }
  const joined = Buffer.allocUnsafe(sections.reduce((sum, { start, end }) => sum + end - start, 0))
  let end = 0
  const moved = sections.map((section) => {
    const start = end
    end += section.bytes.copy(joined, start, section.start, section.end)
    return { ...section, bytes: joined, start, end }
  })
  return { bytes: joined, sections: moved }
}

function recordSet(
  bytes: Buffer,
  columns: ColumnBuilder,
  markers: readonly TransactionMarker[],
  nextOffset: number,
): RecordSet {
  const { length } = columns
  return {
    length,
    offsets: columns.offsets.subarray(0, length),
    timestamps: columns.timestamps.subarray(0, length),
    keys: { bytes, starts: columns.keyStarts, lengths: columns.keyLengths },
    values: { bytes, starts: columns.valueStarts, lengths: columns.valueLengths },
    headers: { bytes, starts: columns.headerStarts, lengths: columns.headerLengths },
    markers,
    nextOffset,
  }
}
