import { join } from 'node:path'
import { describeError, fatal, MillraceError } from '../../infra/runtime/errors.ts'
import {
  type GoldenRow,
  type ModelManifest,
  readModelManifest,
  verifyModelFile,
} from '../../schemas/pipeline/manifest.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import { createOnnxSession, type OnnxSession } from './onnx-session.ts'
import { tensorProblem } from './tensor-problem.ts'

/** A model version that was verified and has answered its golden rows. */
export interface LoadedModel {
  readonly manifest: ModelManifest
  /** Features per row. */
  readonly width: number
  /** Rows [count, width] → outputs [count, manifest.output.width]. Rejects with the runtime's own error. */
  run(rows: Float32Array): Promise<Float32Array>
  /** True when the model still answers a row that it is known to answer. */
  answers(): Promise<boolean>
  release(): Promise<void>
}

const GOLDEN_TOLERANCE = 1e-5

/**
 * Loads `<folder>/manifest.json` and its model: the file's digest first, since a model file is code; then the model's
 * inputs and outputs against the manifest; then its golden rows. Rejects with `invalid_model` (crash), saying file, field,
 * what was expected and what was found.
 */
export async function loadModel(folder: string): Promise<LoadedModel> {
  try {
    const manifest = readModelManifest(folder)
    const session = await openSession(manifest, verifyModelFile(manifest))
    try {
      const problem = tensorProblem(manifest, session)
      if (problem !== null) throw refused(manifest, 'manifest.json', problem)
      await checkGoldenRows(manifest, session)
    } catch (error) {
      await session.release()
      throw error
    }
    return loadedModel(manifest, session)
  } catch (error) {
    if (error instanceof MillraceError) throw error
    if (error instanceof PipelineError) throw fatal('invalid_model', error.message, error)
    throw fatal('invalid_model', `${folder}: ${describeError(error).message}`, error)
  }
}

async function openSession(manifest: ModelManifest, bytes: Buffer): Promise<OnnxSession> {
  try {
    return await createOnnxSession(bytes)
  } catch (error) {
    throw refused(manifest, manifest.file, `ONNX Runtime cannot load it: ${describeError(error).message}`)
  }
}

function loadedModel(manifest: ModelManifest, session: OnnxSession): LoadedModel {
  const width = manifest.input.features.length
  const { tensor } = manifest.input
  const probe = goldenFeatures(manifest.golden.slice(0, 1), width)
  const run = (rows: Float32Array): Promise<Float32Array> => session.run(tensor, rows, width, manifest.output.tensor)
  return {
    manifest,
    width,
    run,
    async answers() {
      try {
        await run(probe)
        return true
      } catch {
        // what it says is the reason of whoever asks
        return false
      }
    },
    release: () => session.release(),
  }
}

function refused(manifest: ModelManifest, file: string, message: string): MillraceError {
  return fatal('invalid_model', `${join(manifest.folder, file)}: ${message}`)
}

/** Also the warm-up: the first run of a session is the slow one. */
async function checkGoldenRows(manifest: ModelManifest, session: OnnxSession): Promise<void> {
  const { golden, input, output } = manifest
  const width = input.features.length
  let outputs: Float32Array
  try {
    outputs = await session.run(input.tensor, goldenFeatures(golden, width), width, output.tensor)
  } catch (error) {
    throw refused(manifest, manifest.file, `the model fails on its golden rows: ${describeError(error).message}`)
  }
  if (outputs.length !== golden.length * output.width) {
    const found = outputs.length / golden.length
    throw refused(manifest, 'manifest.json', `output.width: ${output.width} is expected, the model answers ${found}`)
  }
  for (const [row, { outputs: expected }] of golden.entries()) {
    for (const [column, value] of expected.entries()) {
      const found = outputs[row * output.width + column] ?? Number.NaN
      if (Math.abs(found - value) <= GOLDEN_TOLERANCE) continue
      const message = `golden[${row}].outputs[${column}]: ${value} is expected, the model answers ${found}`
      throw refused(manifest, 'manifest.json', message)
    }
  }
}

function goldenFeatures(rows: readonly GoldenRow[], width: number): Float32Array {
  const matrix = new Float32Array(rows.length * width)
  for (const [row, { features }] of rows.entries()) {
    for (const [column, value] of features.entries()) matrix[row * width + column] = value ?? Number.NaN
  }
  return matrix
}
