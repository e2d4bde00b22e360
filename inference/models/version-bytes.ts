import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { PlacedModel } from './place-model.ts'

/** A session takes a multiple of its file: weights are packed anew. */
const MEMORY_OF_FILE = 3
/** Resident memory of a child without its model, where nobody tells: Node.js, ONNX Runtime and their heaps, as measured on Linux. */
const CHILD_BYTES = 144_000_000

/** What a version takes where it was placed, told anew at each call, bytes: its sessions, or the children that they are in. */
export function versionBytes(manifest: ModelManifest, placed: readonly PlacedModel[]): () => number {
  const session = sessionBytes(manifest)
  return () => {
    let bytes = 0
    for (const { executor } of placed) {
      bytes += executor.kind === 'inline' ? session : (executor.stats().residentBytes ?? CHILD_BYTES + session)
    }
    return bytes
  }
}

function sessionBytes({ folder, file, files }: ModelManifest): number {
  const paths = [file, ...files.map(({ path }) => path)]
  const sizes = paths.map((path) => statSync(join(folder, path), { throwIfNoEntry: false })?.size ?? 0)
  return MEMORY_OF_FILE * sizes.reduce((sum, size) => sum + size, 0)
}
