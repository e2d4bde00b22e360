import { open } from 'node:fs/promises'
import { fatal } from '../../../infra/runtime/errors.ts'

/** A file ends with its metadata, their length (4 bytes, little-endian) and this. */
const MAGIC = 'PAR1'
const TAIL_BYTES = 8
/** Of `FileMetaData`: i64 num_rows (parquet.thrift). */
const NUM_ROWS = 3

/** Rows of a Parquet file, by its own metadata. Rejects with `export_broken` (crash) when the file is not whole. */
export async function parquetRows(file: string): Promise<number> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const read = async (at: number, length: number): Promise<Buffer> => {
      const buffer = Buffer.alloc(length)
      await handle.read(buffer, 0, length, at)
      return buffer
    }
    const tail = size < TAIL_BYTES ? Buffer.alloc(TAIL_BYTES) : await read(size - TAIL_BYTES, TAIL_BYTES)
    const length = tail.readUInt32LE(0)
    if (tail.toString('latin1', 4) !== MAGIC || length + TAIL_BYTES > size) throw new RangeError('it has no footer')
    return rowsOfMetadata(await read(size - TAIL_BYTES - length, length))
  } catch (error) {
    throw fatal('export_broken', `${file} is no whole Parquet file: ${(error as Error).message}`, error)
  } finally {
    await handle.close()
  }
}

/**
 * Thrift's compact protocol: a struct is fields up to a 0 byte, each a byte of (id − previous id) << 4 | type, or with 0 there its id as a
 * zigzag varint behind it. Types: 1, 2 booleans (no value), 3 byte, 4–6 zigzag varints, 7 double, 8 bytes with their length, 9, 10 lists,
 * 12 struct.
 */
function rowsOfMetadata(bytes: Buffer): number {
  let at = 0

  function varint(): bigint {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++)
      value |= BigInt(byte & 127) << shift
      if (byte < 128) return value
    }
  }
  const zigzag = (): bigint => {
    const value = varint()
    return (value >> 1n) ^ -(value & 1n)
  }

  function skip(type: number, inList: boolean): void {
    if (type === 3 || ((type === 1 || type === 2) && inList)) at += 1
    else if (type >= 4 && type <= 6) varint()
    else if (type === 7) at += 8
    else if (type === 8) {
      const length = Number(varint())
      at += length
    } else if (type === 9 || type === 10) {
      const head = bytes.readUInt8(at++)
      const size = head >> 4 === 15 ? Number(varint()) : head >> 4
      for (let element = 0; element < size; element++) skip(head & 15, true)
    } else if (type === 12) struct(() => false)
    else if (type > 2) throw new RangeError(`it has a field of type ${type}`)
  }

  /** True from `found` ends it. */
  function struct(found: (id: number) => boolean): void {
    for (let id = 0; ; ) {
      const head = bytes.readUInt8(at++)
      if (head === 0) return
      id = head >> 4 === 0 ? Number(zigzag()) : id + (head >> 4)
      if (found(id)) return
      skip(head & 15, false)
    }
  }

  let rows: number | null = null
  struct((id) => {
    if (id === NUM_ROWS) rows = Number(zigzag())
    return rows !== null
  })
  if (rows === null) throw new RangeError('it does not say how many rows it has')
  return rows
}
