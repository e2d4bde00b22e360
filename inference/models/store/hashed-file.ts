import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rm } from 'node:fs/promises'

export interface FileDigest {
  /** Hex. */
  readonly sha256: string
  /** Bytes. */
  readonly size: number
}

const READ_ONLY = 0o444
const CHUNK_BYTES = 1_048_576

/** Digest of a file, a piece at a time: model files may be larger than memory. */
export async function digestOfFile(file: string): Promise<FileDigest> {
  const hash = createHash('sha256')
  let size = 0
  for await (const chunk of contentOf(file)) {
    hash.update(chunk)
    size += chunk.length
  }
  return { sha256: hash.digest('hex'), size }
}

export function contentOf(file: string): AsyncIterable<Buffer> {
  return createReadStream(file, { highWaterMark: CHUNK_BYTES })
}

/** Writes a new, read-only file, on disk when this resolves. Nothing is left of it when the source fails. */
export async function writeDigested(source: AsyncIterable<Uint8Array>, file: string): Promise<FileDigest> {
  const hash = createHash('sha256')
  let size = 0
  const handle = await open(file, 'wx', READ_ONLY)
  try {
    for await (const chunk of source) {
      hash.update(chunk)
      size += chunk.length
      await handle.writeFile(chunk)
    }
    await handle.sync()
  } catch (error) {
    await handle.close()
    await rm(file, { force: true })
    throw error
  }
  await handle.close()
  return { sha256: hash.digest('hex'), size }
}

/** So that a rename in the directory outlasts a power cut. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
