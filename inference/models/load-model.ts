import { fatal } from '../../infra/runtime/errors.ts'
import { type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import { goldenFeatures, openModelSession } from './model-session.ts'

/** A model version that was verified and has answered its golden rows. */
export interface LoadedModel {
  readonly manifest: ModelManifest
  /** Features per row. */
  readonly width: number
  /** Rows [count, width] → outputs [count, manifest.output.width]. Rejects with ModelRunError. */
  run(rows: Float32Array): Promise<Float32Array>
  /** True when the model still answers a row that it is known to answer. */
  answers(): Promise<boolean>
  release(): Promise<void>
}

/** Reads `<folder>/manifest.json` and opens its model on the CPU. Rejects with `invalid_model` (crash). */
export async function loadModel(folder: string): Promise<LoadedModel> {
  const manifest = readManifest(folder)
  const width = manifest.input.features.length
  const session = await openModelSession(manifest)
  const probe = goldenFeatures(manifest).subarray(0, width)
  return {
    manifest,
    width,
    run: (rows) => session.run(rows),
    async answers() {
      try {
        await session.run(probe)
        return true
      } catch {
        // what it says is the reason of whoever asks
        return false
      }
    },
    release: () => session.release(),
  }
}

function readManifest(folder: string): ModelManifest {
  try {
    return readModelManifest(folder)
  } catch (error) {
    if (error instanceof PipelineError) throw fatal('invalid_model', error.message, error)
    throw error
  }
}
