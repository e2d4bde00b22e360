import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { describeError, fatal, MillraceError, retryable } from '../../../infra/runtime/errors.ts'
import { contentOf, digestOfFile } from '../../../schemas/file-digest.ts'
import type { ModelStore } from './model-store.ts'
import { syncDirectory, writeDigested } from './written-file.ts'

/**
 * A directory, perhaps a mounted one: `<two first digits>/<digest>`. A file gets its name once it is whole and on disk, by a
 * rename; a damaged one is replaced by the next `put`.
 */
export function createDirectoryStore(directory: string): ModelStore {
  const root = path.resolve(directory)
  const placeOf = (digest: string): string => path.join(root, digest.slice(0, 2), digest)

  async function put(file: string): Promise<string> {
    const { sha256 } = await digestOfFile(file)
    const place = placeOf(sha256)
    if (existsSync(place) && (await digestOfFile(place)).sha256 === sha256) return sha256
    const folder = path.dirname(place)
    await mkdir(folder, { recursive: true })
    const unfinished = path.join(folder, `.${sha256}-${randomUUID()}`)
    try {
      const written = await writeDigested(contentOf(file), unfinished)
      if (written.sha256 !== sha256) throw fatal('model_changed', `${file} changed while it was stored`)
      await rename(unfinished, place)
    } finally {
      await rm(unfinished, { force: true })
    }
    await syncDirectory(folder)
    await syncDirectory(root)
    return sha256
  }

  async function get(digest: string, file: string): Promise<void> {
    const place = placeOf(digest)
    if (!existsSync(place)) throw fatal('model_not_stored', `${root} has no file of digest ${digest}`)
    const { sha256 } = await writeDigested(contentOf(place), file)
    if (sha256 === digest) return
    await rm(file, { force: true })
    throw fatal('model_store_corrupt', `${place} is damaged: its sha256 is ${sha256}`)
  }

  return {
    place: root,
    has: async (digest) => existsSync(placeOf(digest)),
    put: (file) => available(root, () => put(file)),
    get: (digest, file) => available(root, () => get(digest, file)),
    close: async () => undefined,
  }
}

/** What the file system refuses may work later: a disk that is full, a mount that is away. */
async function available<T>(root: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw retryable('model_store_unavailable', `model store ${root}: ${describeError(error).message}`, error)
  }
}
