import { corrupt, UnreadableError } from './errors.ts'

/*
 * Record batch, magic 2, big-endian. A record set (the records of a partition in a Fetch or Produce request) is one batch
 * after another; the last one of a Fetch may be cut off.
 *
 *    0  base offset: INT64               of the first record when it was written; a producer writes 0
 *    8  batch length: INT32              bytes from 12 to the end
 *   12  partition leader epoch: INT32    written by the broker
 *   16  magic: INT8 = 2
 *   17  crc: UINT32                      CRC-32C of everything from 21
 *   21  attributes: INT16                bits 0-2 codec (none, gzip, snappy, lz4, zstd), 3 log append time, 4 transactional,
 *                                        5 control, 6 the base timestamp is a delete horizon (deltas count from it all the same)
 *   23  last offset delta: INT32         stays when compaction takes records away, also the last one
 *   27  base timestamp: INT64            epoch ms; the records carry deltas
 *   35  max timestamp: INT64             with log append time: the timestamp of every record
 *   43  producer id: INT64               -1 = none
 *   51  producer epoch: INT16
 *   53  base sequence: INT32
 *   57  record count: INT32              0 when compaction left the header alone
 *   61  records (records.ts), compressed as a whole
 */
export const RECORDS_AT = 61
const LENGTH_AT = 8
const LENGTH_FROM = 12
const MAGIC_AT = 16
const CRC_AT = 17
const CRC_FROM = 21
const MAGIC = 2
const CODEC_MASK = 0x07
const LOG_APPEND_TIME = 0x08
const TRANSACTIONAL = 0x10
const CONTROL = 0x20
const NO_LEADER_EPOCH = -1
const TWO_32 = 4_294_967_296

export interface BatchHeader {
  /** Position of the batch in the bytes that were read. */
  readonly start: number
  readonly end: number
  readonly baseOffset: number
  readonly lastOffset: number
  readonly codec: number
  readonly logAppendTime: boolean
  readonly transactional: boolean
  readonly control: boolean
  readonly baseTimestamp: number
  readonly maxTimestamp: number
  readonly count: number
}

/** Who writes a batch, for the broker's fencing and deduplication. */
export interface ProducerState {
  readonly id: bigint
  readonly epoch: number
  /** Of the batch's first record. */
  readonly sequence: number
}

/** End of the batch that starts there; null when it is cut off. */
export function batchEnd(bytes: Buffer, start: number): number | null {
  if (start + LENGTH_FROM > bytes.length) return null
  const length = bytes.readInt32BE(start + LENGTH_AT)
  if (length < RECORDS_AT - LENGTH_FROM) throw corrupt(`its length is ${length}`)
  const end = start + LENGTH_FROM + length
  return end > bytes.length ? null : end
}

/** Its offset as it stands there, for the message of an error; null when it cannot be one. */
export function baseOffsetAt(bytes: Buffer, start: number): number | null {
  const offset = start + 8 > bytes.length ? -1 : readInt64(bytes, start)
  return Number.isSafeInteger(offset) && offset >= 0 ? offset : null
}

/** Header of a whole batch, its checksum verified by `crc32c`. */
export function readBatchHeader(
  bytes: Buffer,
  start: number,
  end: number,
  crc32c: (bytes: Buffer) => number,
): BatchHeader {
  const magic = bytes.readInt8(start + MAGIC_AT)
  if (magic !== MAGIC) throw new UnreadableError('unsupported_records', `message format ${magic} is not supported`)
  const written = bytes.readUInt32BE(start + CRC_AT)
  const actual = crc32c(bytes.subarray(start + CRC_FROM, end))
  if (written !== actual)
    throw corrupt(`its checksum is ${written.toString(16)}, not ${actual.toString(16)} as written`)
  const attributes = bytes.readInt16BE(start + 21)
  const baseOffset = baseOffsetAt(bytes, start)
  const lastOffsetDelta = bytes.readInt32BE(start + 23)
  const count = bytes.readInt32BE(start + 57)
  if (baseOffset === null || lastOffsetDelta < 0 || !Number.isSafeInteger(baseOffset + lastOffsetDelta + 1)) {
    throw corrupt(`its last offset is ${lastOffsetDelta} above its first`)
  }
  if (count < 0 || count > lastOffsetDelta + 1) throw corrupt(`${count} records in ${lastOffsetDelta + 1} offsets`)
  return {
    start,
    end,
    baseOffset,
    lastOffset: baseOffset + lastOffsetDelta,
    codec: attributes & CODEC_MASK,
    logAppendTime: (attributes & LOG_APPEND_TIME) !== 0,
    transactional: (attributes & TRANSACTIONAL) !== 0,
    control: (attributes & CONTROL) !== 0,
    baseTimestamp: readInt64(bytes, start + 27),
    maxTimestamp: readInt64(bytes, start + 35),
    count,
  }
}

export function readProducer(bytes: Buffer, start: number): ProducerState {
  return {
    id: bytes.readBigInt64BE(start + 43),
    epoch: bytes.readInt16BE(start + 51),
    sequence: bytes.readInt32BE(start + 53),
  }
}

/** Fills the header of a batch whose records are in place; the checksum comes last. */
export function writeBatchHeader(
  batch: Buffer,
  fields: {
    readonly codec: number
    readonly transactional: boolean
    readonly count: number
    readonly baseTimestamp: number
    readonly maxTimestamp: number
    readonly producer: ProducerState
  },
  crc32c: (bytes: Buffer) => number,
): void {
  writeInt64(batch, 0, 0)
  batch.writeInt32BE(batch.length - LENGTH_FROM, LENGTH_AT)
  batch.writeInt32BE(NO_LEADER_EPOCH, 12)
  batch.writeInt8(MAGIC, MAGIC_AT)
  batch.writeInt16BE(fields.codec | (fields.transactional ? TRANSACTIONAL : 0), 21)
  batch.writeInt32BE(fields.count - 1, 23)
  writeInt64(batch, 27, fields.baseTimestamp)
  writeInt64(batch, 35, fields.maxTimestamp)
  batch.writeBigInt64BE(fields.producer.id, 43)
  batch.writeInt16BE(fields.producer.epoch, 51)
  batch.writeInt32BE(fields.producer.sequence, 53)
  batch.writeInt32BE(fields.count, 57)
  batch.writeUInt32BE(crc32c(batch.subarray(CRC_FROM)), CRC_AT)
}

/** The nearest double. */
function readInt64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * TWO_32 + bytes.readUInt32BE(at + 4)
}

/** The value is a safe integer. */
function writeInt64(bytes: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO_32)
  bytes.writeInt32BE(high, at)
  bytes.writeUInt32BE(value - high * TWO_32, at + 4)
}
