import { createRequire } from 'node:module'
import { corrupt } from '../errors.ts'
import { type Codec, tooLarge } from './codec.ts'

/*
 * LZ4 frame, little-endian:
 *
 *   magic: 0x184D2204
 *   FLG: 1   bits 7-6 version (01), 5 blocks independent, 4 block checksums, 3 content size, 2 content checksum, 0 dictionary
 *   BD: 1    bits 6-4 largest block: 4 = 64 KiB, 5 = 256 KiB, 6 = 1 MiB, 7 = 4 MiB
 *   content size: 8 and dictionary id: 4 where FLG has them; header checksum: 1
 *   blocks: { size: 4, the high bit set = not compressed; data; checksum: 4 where FLG has it }, after the last a size of 0
 *   content checksum: 4 where FLG has it
 *
 * The library decompresses a frame to its end whatever that costs, so the blocks are added up before: each becomes at most
 * the largest block, and at most 255 times what it is.
 */
const MAGIC = 0x184d2204
const HAS_BLOCK_CHECKSUMS = 0x10
const HAS_CONTENT_SIZE = 0x08
const HAS_DICTIONARY = 0x01
const NOT_COMPRESSED = 0x80000000
const MAX_RATIO = 255

type Native = typeof import('lz4-napi')

let loaded: Native | null = null

/** Loaded when the first batch needs it: the package is native, and npm leaves its binary out with optional packages. */
function native(): Native {
  loaded ??= createRequire(import.meta.url)('lz4-napi') as Native
  return loaded
}

/** Whatever the reason: without it nothing can be compressed with LZ4. */
export function isLz4Installed(): boolean {
  try {
    return native() !== null
  } catch {
    return false
  }
}

/** Version 01, independent blocks, of at most 64 KiB; the checksum of these two bytes. */
const HEADER = Buffer.from('04224d18604082', 'hex')
const BLOCK_BYTES = 65_536
const BLOCK_HEADER_BYTES = 4
const END = Buffer.alloc(4)

/**
 * The frame's blocks one by one: the library's own frames cost twice as much, most of it for fresh memory. Its blocks begin
 * with the size of the content, where a frame has that of the block.
 */
function compressFrame(bytes: Buffer): Buffer {
  const parts: Buffer[] = [HEADER]
  for (let from = 0; from < bytes.length; from += BLOCK_BYTES) {
    const content = bytes.subarray(from, from + BLOCK_BYTES)
    const block = native().compressSync(content)
    const size = block.length - BLOCK_HEADER_BYTES
    if (size < content.length) {
      block.writeUInt32LE(size)
      parts.push(block)
      continue
    }
    const header = Buffer.alloc(BLOCK_HEADER_BYTES)
    header.writeUInt32LE((content.length | NOT_COMPRESSED) >>> 0)
    parts.push(header, content)
  }
  return Buffer.concat([...parts, END])
}

export const lz4: Codec = {
  compress: compressFrame,
  decompress(bytes, maxBytes) {
    if (largestContent(bytes) > maxBytes) throw tooLarge(maxBytes)
    return native().decompressFrameSync(bytes)
  },
}

/** Bytes that the frame can become: exact but for the last block, which counts as a full one. */
function largestContent(frame: Buffer): number {
  if (frame.length < 7 || frame.readUInt32LE(0) !== MAGIC) throw corrupt('no LZ4 frame')
  const flags = frame.readUInt8(4)
  const largestBlock = 2 ** (8 + 2 * ((frame.readUInt8(5) >> 4) & 7))
  const checksumBytes = (flags & HAS_BLOCK_CHECKSUMS) === 0 ? 0 : 4
  let at = 7 + ((flags & HAS_CONTENT_SIZE) === 0 ? 0 : 8) + ((flags & HAS_DICTIONARY) === 0 ? 0 : 4)
  let content = 0
  for (;;) {
    if (at + 4 > frame.length) throw corrupt('an LZ4 frame without its end')
    const field = frame.readUInt32LE(at)
    if (field === 0) return content
    const size = field >= NOT_COMPRESSED ? field - NOT_COMPRESSED : field
    content += field >= NOT_COMPRESSED ? size : Math.min(largestBlock, size * MAX_RATIO)
    at += 4 + size + checksumBytes
  }
}
