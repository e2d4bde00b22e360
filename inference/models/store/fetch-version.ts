import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { fatal, retryable } from '../../../infra/runtime/errors.ts'
import { digestOfFile } from '../../../schemas/file-digest.ts'
import { isSha256, type ModelManifest, readModelManifest, verifyModelFile } from '../../../schemas/pipeline/manifest.ts'
import { PipelineError } from '../../../schemas/pipeline/problems.ts'
import type { ModelStore } from './model-store.ts'
import { syncDirectory } from './written-file.ts'

const MANIFEST = 'manifest.json'

/** A file of a version, and what its content must be. */
export interface VersionFile {
  /** Relative to the folder, with `/`. */
  readonly path: string
  readonly sha256: string
}

/** The files of a version that its manifest names: the model file first, then what lies beside it. */
export function filesOf(manifest: ModelManifest): readonly VersionFile[] {
  return [{ path: manifest.file, sha256: manifest.sha256 }, ...manifest.files]
}

/**
 * A version by the digest of its manifest.json, in `<cacheDir>/<digest>/`: files that nobody may write to. What is there is
 * used again once every file has been verified; what is damaged is fetched anew. Several processes may fetch into one
 * directory. Rejects with what the store rejects with, with `invalid_model` (crash) when what it has is no version, and with
 * `model_store_unavailable` (retry) when the directory cannot be written to.
 */
export async function fetchVersion(store: ModelStore, cacheDir: string, digest: string): Promise<ModelManifest> {
  // it becomes the name of a directory that may be removed
  if (!isSha256(digest)) throw fatal('invalid_model', `${JSON.stringify(digest)} is no SHA-256 of a manifest`)
  const target = path.resolve(cacheDir, digest)
  try {
    return await keptOrFetched(store, target, digest)
  } catch (error) {
    // a disk that is full, a limit of open files, a mount that is away: it may work later
    if (!(error instanceof Error && 'syscall' in error)) throw error
    throw retryable('model_store_unavailable', `model cache ${target}: ${error.message}`, error)
  }
}

async function keptOrFetched(store: ModelStore, target: string, digest: string): Promise<ModelManifest> {
  if (existsSync(target)) {
    // what is damaged is found here, where it can be fetched anew; whoever loads the model verifies the bytes that it loads
    const kept = await verifiedVersion(target, digest)
    if (kept !== null) return kept
    await rm(target, { recursive: true, force: true })
  }
  const unfinished = path.join(path.dirname(target), `.${digest}-${randomUUID()}`)
  await mkdir(unfinished, { recursive: true })
  try {
    await fetchFiles(store, unfinished, digest)
    await rename(unfinished, target).catch(async (error: unknown) => {
      // another process was first
      if ((await verifiedVersion(target, digest)) === null) throw error
    })
    await syncDirectory(path.dirname(target))
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
  return readModelManifest(target)
}

async function fetchFiles(store: ModelStore, folder: string, digest: string): Promise<void> {
  await store.get(digest, path.join(folder, MANIFEST))
  const manifest = readable(digest, () => readModelManifest(folder))
  for (const { path: name, sha256 } of filesOf(manifest)) {
    const file = path.join(folder, name)
    await mkdir(path.dirname(file), { recursive: true })
    await store.get(sha256, file)
  }
  await syncDirectory(folder)
}

function readable<T>(digest: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof PipelineError)) throw error
    throw fatal('invalid_model', `the model store's ${digest} is no manifest: ${error.message}`, error)
  }
}

/** Null when the folder is not, to the last byte, the version of that digest. */
async function verifiedVersion(folder: string, digest: string): Promise<ModelManifest | null> {
  const file = path.join(folder, MANIFEST)
  if (!existsSync(file) || (await digestOfFile(file)).sha256 !== digest) return null
  try {
    const manifest = readModelManifest(folder)
    await verifyModelFile(manifest)
    return manifest
  } catch (error) {
    if (error instanceof PipelineError) return null
    throw error
  }
}
