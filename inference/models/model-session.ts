import { join, posix } from 'node:path'
import { describeError, fatal, MillraceError } from '../../infra/runtime/errors.ts'
import { type ModelManifest, verifyModelFile } from '../../schemas/pipeline/manifest.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import { ModelRunError } from '../execution/executor.ts'
import type { Provider } from '../execution/run-rows.ts'
import { vectorProblem } from '../vector-problem.ts'
import { joinOutputs } from './join-outputs.ts'
import { type ModelUses, modelUses } from './model-uses.ts'
import { createOnnxSession, isAllocationFailure, type OnnxSession } from './onnx-session.ts'
import { createPackRows } from './pack-rows.ts'
import { tensorProblem } from './tensor-problem.ts'

/** A model that was verified and has answered its golden rows. */
export interface ModelSession {
  readonly manifest: ModelManifest
  /**
   * Rows [count, features] → outputs [count, manifest.output.width]. `rows` are read until the promise settles. Rejects with
   * ModelRunError: `allocation`, else `rows`. It blocks the thread.
   */
  run(rows: Float32Array): Promise<Float32Array>
  /** No run may be under way; once. */
  release(): Promise<void>
}

/**
 * Opens a version on a provider: the digests of its files first, since a model file is code; then the model's inputs and
 * outputs against the manifest; then its golden rows, which also warm it. Rejects with `invalid_model` (crash), saying file,
 * field, what was expected and what was found, and with `provider_missing` (crash).
 */
export async function openModelSession(manifest: ModelManifest, provider: Provider = 'cpu'): Promise<ModelSession> {
  try {
    const session = await openSession(manifest, provider)
    try {
      const problem = tensorProblem(manifest, session)
      if (problem !== null) throw refused(manifest, 'manifest.json', problem)
      const run = createRun(manifest, session)
      await checkGoldenRows(manifest, run)
      return { manifest, run, release: () => session.release() }
    } catch (error) {
      await session.release()
      throw error
    }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    if (error instanceof PipelineError) throw fatal('invalid_model', error.message, error)
    throw fatal('invalid_model', `${manifest.folder}: ${describeError(error).message}`, error)
  }
}

/** The golden rows' features, [rows, features]. */
export function goldenFeatures({ golden, input }: ModelManifest): Float32Array {
  const width = input.features.length
  const rows = new Float32Array(golden.length * width)
  for (const [row, { features }] of golden.entries()) {
    for (const [column, value] of features.entries()) rows[row * width + column] = value ?? Number.NaN
  }
  return rows
}

async function openSession(manifest: ModelManifest, provider: Provider): Promise<OnnxSession> {
  const bytes = await verifyModelFile(manifest)
  const problem = usesProblem(manifest, usesOf(manifest, bytes))
  if (problem !== null) throw refused(manifest, 'manifest.json', problem)
  try {
    // external data is looked for beside the file, and shared by the processes that map it
    return await createOnnxSession(manifest.files.length > 0 ? join(manifest.folder, manifest.file) : bytes, provider)
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw refused(manifest, manifest.file, `ONNX Runtime cannot load it: ${describeError(error).message}`)
  }
}

function usesOf(manifest: ModelManifest, bytes: Buffer): ModelUses {
  try {
    return modelUses(bytes)
  } catch (error) {
    throw refused(manifest, manifest.file, `it is no ONNX model: ${describeError(error).message}`)
  }
}

/** What the model uses beyond what its manifest says: weights whose digest nobody knows, operators of others. */
function usesProblem({ files, domains }: ModelManifest, model: ModelUses): string | null {
  for (const location of model.external) {
    if (files.some((file) => file.path === posix.normalize(location))) continue
    return `files: the model keeps weights in ${location}, which is not listed with its digest`
  }
  for (const domain of model.domains) {
    if (domains.includes(domain)) continue
    return `domains: the model uses operators of ${domain}, which are not allowed (${domains.join(', ')} are)`
  }
  return null
}

type Run = ModelSession['run']

function createRun({ input, output }: ModelManifest, session: OnnxSession): Run {
  const features = input.features.length
  const names = output.tensors.map(({ name }) => name)
  const pack = createPackRows(input, session.inputs)

  /** The first `count` of `total` rows. */
  async function runTensors(rows: Float32Array, count: number, total: number): Promise<Float32Array> {
    try {
      const packed = pack(rows, total)
      try {
        return joinOutputs(output, await session.run(packed.feeds, names), count, total)
      } finally {
        packed.free()
      }
    } catch (error) {
      const fault = isAllocationFailure(error) ? 'allocation' : 'rows'
      throw new ModelRunError(fault, describeError(error).message, error)
    }
  }

  const { batch } = input
  if (batch === null) {
    return (rows) => {
      const count = rows.length / features
      return runTensors(rows, count, count)
    }
  }

  return async (rows) => {
    const count = rows.length / features
    if (count === batch) return runTensors(rows, count, count)
    const outputs = new Float32Array(count * output.width)
    for (let from = 0; from < count; from += batch) {
      const chunk = rows.subarray(from * features, Math.min(count, from + batch) * features)
      const length = chunk.length / features
      outputs.set(await runTensors(padded(chunk, features, batch), length, batch), from * output.width)
    }
    return outputs
  }
}

/** With the first row again in the place of those that are missing: one that the model takes, whatever that is. */
function padded(rows: Float32Array, features: number, batch: number): Float32Array {
  if (rows.length === batch * features) return rows
  const whole = new Float32Array(batch * features)
  whole.set(rows)
  const first = rows.subarray(0, features)
  for (let at = rows.length; at < whole.length; at += features) whole.set(first, at)
  return whole
}

function refused(manifest: ModelManifest, file: string, message: string): MillraceError {
  return fatal('invalid_model', `${join(manifest.folder, file)}: ${message}`)
}

async function checkGoldenRows(manifest: ModelManifest, run: Run): Promise<void> {
  const { golden, input, output, tolerance } = manifest
  const rows = goldenFeatures(manifest)
  const width = input.features.length
  for (const row of golden.keys()) {
    const problem = vectorProblem(manifest, rows.subarray(row * width, (row + 1) * width))
    if (problem !== null) throw refused(manifest, 'manifest.json', `golden[${row}].features: ${problem.message}`)
  }
  let outputs: Float32Array
  try {
    outputs = await run(rows)
  } catch (error) {
    throw refused(manifest, manifest.file, `the model fails on its golden rows: ${describeError(error).message}`)
  }
  for (const [row, { outputs: expected }] of golden.entries()) {
    for (const [column, value] of expected.entries()) {
      const found = outputs[row * output.width + column] ?? Number.NaN
      if (Math.abs(found - value) <= tolerance) continue
      const message = `golden[${row}].outputs[${column}]: ${value} is expected, the model answers ${found}`
      throw refused(manifest, 'manifest.json', message)
    }
  }
}
