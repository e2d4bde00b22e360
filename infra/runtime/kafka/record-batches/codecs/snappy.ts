import { createRequire } from 'node:module'
import { corrupt } from '../errors.ts'
import { type Codec, tooLarge } from './codec.ts'

/*
 * Two layouts are in use. Java clients frame ("xerial"); librdkafka writes one bare block and reads both.
 *
 *   framed  magic: 82 'SNAPPY' 00, version: INT32 = 1, compatible version: INT32 = 1,
 *           blocks: { length: INT32, block }
 *   block   length of the content: unsigned varint, then the elements of the Snappy format
 */
const HEADER = Buffer.concat([Buffer.from([0x82]), Buffer.from('SNAPPY\0'), Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])])
const MAGIC = HEADER.subarray(0, 8)

type Native = typeof import('snappy')

let loaded: Native | null = null

/** Loaded when the first batch needs it: the package is native, and npm leaves its binary out with optional packages. */
function native(): Native {
  loaded ??= createRequire(import.meta.url)('snappy') as Native
  return loaded
}

export const snappy: Codec = {
  compress(bytes) {
    const block = native().compressSync(bytes)
    const length = Buffer.allocUnsafe(4)
    length.writeInt32BE(block.length)
    return Buffer.concat([HEADER, length, block])
  },
  decompress(bytes, maxBytes) {
    const blocks = isFramed(bytes) ? blocksOf(bytes) : [bytes]
    let content = 0
    for (const block of blocks) {
      content += contentLength(block)
      if (content > maxBytes) throw tooLarge(maxBytes)
    }
    const parts = blocks.map((block) => native().uncompressSync(block, { asBuffer: true }) as Buffer)
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts)
  },
}

function isFramed(bytes: Buffer): boolean {
  return bytes.length >= HEADER.length && MAGIC.equals(bytes.subarray(0, MAGIC.length))
}

function blocksOf(bytes: Buffer): readonly Buffer[] {
  const blocks: Buffer[] = []
  let at = HEADER.length
  while (at < bytes.length) {
    if (at + 4 > bytes.length) throw corrupt('the length of a Snappy block is cut off')
    const length = bytes.readInt32BE(at)
    at += 4
    if (length < 0 || at + length > bytes.length) throw corrupt('a Snappy block is longer than the batch')
    blocks.push(bytes.subarray(at, at + length))
    at += length
  }
  return blocks
}

function contentLength(block: Buffer): number {
  let value = 0
  for (let index = 0; index < 5; index++) {
    const byte = block[index]
    if (byte === undefined) break
    value += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 0x80) return value
  }
  throw corrupt('a Snappy block without a length')
}
