import { type ProducerState, RECORDS_AT, writeBatchHeader } from './batch-header.ts'
import { type Compression, compress, compressionNumber } from './codecs/compression.ts'
import type { RecordColumns } from './columns.ts'
import { crc32c } from './crc32c.ts'
import { recordLengths, writeRecords } from './records.ts'
import { varintSize } from './varint.ts'

export interface EncodeOptions {
  /** Rows [from, to) become the batch; all of them by default. */
  readonly from?: number
  readonly to?: number
  /** Null = neither idempotent nor transactional. */
  readonly producer: ProducerState | null
  readonly transactional?: boolean
  /** `none` by default. */
  readonly compression?: Compression
}

const NO_PRODUCER: ProducerState = { id: -1n, epoch: -1, sequence: -1 }
const MAX_INT32 = 0x7fffffff
/** A larger batch, which no broker takes by default, is not worth keeping memory for. */
const MAX_SCRATCH_BYTES = 2_097_152

/**
 * One record batch for a Produce request, in a buffer of exactly its size, which the caller owns. Offsets count from 0, as
 * the broker wants them; the timestamps are epoch ms, not before -1. Throws a RangeError when there is no row, a timestamp
 * is no such integer, or the batch passes 2 GiB.
 */
export function encodeBatch(records: RecordColumns, options: EncodeOptions): Buffer {
  const { from = 0, to = records.length, producer, transactional = false, compression = 'none' } = options
  if (!(from >= 0 && from < to && to <= records.length)) throw new RangeError(`rows ${from} to ${to} are no batch`)
  const { base: baseTimestamp, max: maxTimestamp } = timestampRange(records, from, to)
  const lengths = recordLengths(records, from, to, baseTimestamp)
  let size = RECORDS_AT
  for (let index = 0; index < lengths.length; index++) {
    const length = lengths[index] as number
    size += varintSize(length) + length
  }
  if (size > MAX_INT32) throw new RangeError(`a batch of ${size} bytes`)

  const codec = compressionNumber(compression)
  let batch = codec === 0 ? Buffer.allocUnsafe(size) : scratchOf(size)
  writeRecords(batch, RECORDS_AT, records, from, lengths, baseTimestamp)
  if (codec !== 0) {
    const compressed = compress(codec, batch.subarray(RECORDS_AT))
    batch = Buffer.allocUnsafe(RECORDS_AT + compressed.length)
    compressed.copy(batch, RECORDS_AT)
  }
  writeBatchHeader(
    batch,
    {
      codec,
      transactional,
      count: to - from,
      baseTimestamp,
      maxTimestamp,
      producer: producer ?? NO_PRODUCER,
    },
    crc32c,
  )
  return batch
}

/** What is compressed is copied out at once: one buffer serves all, and the collector has nothing to do. */
let scratch = Buffer.allocUnsafeSlow(0)

function scratchOf(size: number): Buffer {
  if (size > MAX_SCRATCH_BYTES) return Buffer.allocUnsafe(size)
  if (scratch.length < size) scratch = Buffer.allocUnsafeSlow(Math.min(MAX_SCRATCH_BYTES, 2 * size))
  return scratch.subarray(0, size)
}

function timestampRange({ timestamps }: RecordColumns, from: number, to: number): { base: number; max: number } {
  if (typeof timestamps === 'number') return { base: validTimestamp(timestamps), max: timestamps }
  const base = timestamps[from] as number
  let max = base
  for (let row = from; row < to; row++) max = Math.max(max, validTimestamp(timestamps[row] as number))
  return { base, max }
}

function validTimestamp(timestamp: number): number {
  if (!Number.isSafeInteger(timestamp) || timestamp < -1) throw new RangeError(`${timestamp} is no timestamp`)
  return timestamp
}
