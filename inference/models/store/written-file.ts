import { open, rm } from 'node:fs/promises'
import { digestOf, type FileDigest } from '../../../schemas/file-digest.ts'

const READ_ONLY = 0o444

/** Writes a new, read-only file, on disk when this resolves. Nothing is left of it when the source fails. */
export async function writeDigested(source: AsyncIterable<Uint8Array>, file: string): Promise<FileDigest> {
  const handle = await open(file, 'wx', READ_ONLY)
  let digest: FileDigest
  try {
    digest = await digestOf(source, (piece) => handle.writeFile(piece))
    await handle.sync()
  } catch (error) {
    await handle.close()
    await rm(file, { force: true })
    throw error
  }
  await handle.close()
  return digest
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
