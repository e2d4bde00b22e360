/** Digests by which model versions and exports name their files, a piece at a time: files may be larger than memory. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

export interface FileDigest {
  /** Hex. */
  readonly sha256: string
  /** Bytes. */
  readonly size: number
}

/** Takes about 0.2 ms to read and to hash: the thread may be one that serves. */
const CHUNK_BYTES = 262_144

export function contentOf(file: string): AsyncIterable<Buffer> {
  return createReadStream(file, { highWaterMark: CHUNK_BYTES })
}

/** Each piece is passed on before the next is asked for. */
export async function digestOf(
  content: AsyncIterable<Uint8Array>,
  passOn?: (piece: Uint8Array) => Promise<void>,
): Promise<FileDigest> {
  const hash = createHash('sha256')
  let size = 0
  for await (const piece of content) {
    hash.update(piece)
    size += piece.length
    await passOn?.(piece)
  }
  return { sha256: hash.digest('hex'), size }
}

export function digestOfFile(file: string): Promise<FileDigest> {
  return digestOf(contentOf(file))
}

/** The bytes of a file with the digest of those very bytes, whatever becomes of the file. */
export async function readDigested(file: string): Promise<{ readonly bytes: Buffer; readonly sha256: string }> {
  const handle = await open(file, 'r')
  try {
    const bytes = Buffer.allocUnsafeSlow((await handle.stat()).size)
    const { sha256, size } = await digestOf(piecesInto(bytes, handle))
    return { bytes: bytes.subarray(0, size), sha256 }
  } finally {
    await handle.close()
  }
}

/** Until they are full, or the file ends. */
async function* piecesInto(bytes: Buffer, handle: FileHandle): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, at, Math.min(CHUNK_BYTES, bytes.length - at), at)
    if (bytesRead === 0) return
    yield bytes.subarray(at, at + bytesRead)
    at += bytesRead
  }
}
