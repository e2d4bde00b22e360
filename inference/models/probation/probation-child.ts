/**
 * The process in which versions are tried out, one after the other, and which may be killed, crash or never answer while it
 * is at one. What it is at is said before each step: what it said last is what it died of.
 */
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { describeError, MillraceError } from '../../../infra/runtime/errors.ts'
import type { ModelProfile } from '../../../schemas/control/models.ts'
import { type ModelManifest, readModelManifest, verifyModelFile } from '../../../schemas/pipeline/manifest.ts'
import { PipelineError } from '../../../schemas/pipeline/problems.ts'
import { bytesOfRow, largestBatch } from '../../batching/largest-batch.ts'
import { goldenFeatures, type ModelSession, openModelSession } from '../model-session.ts'
import { measureProfile } from './measure-profile.ts'
import { outputProblem } from './output-problem.ts'
import type {
  Answers,
  Candidate,
  ProbationCode,
  ProbationMessage,
  ProbationRefusal,
  ProbationStep,
} from './probation.ts'
import { repeatedRows, rowsWithout } from './sample-rows.ts'
import { structureProblem } from './structure-problem.ts'

/**
 * A thread that ends the process when the parent is gone, also while the main thread runs a model: the parent holds the other
 * end of the stream 4 and never writes to it.
 */
const LIFELINE = `
const { Socket } = require('node:net')
new Socket({ fd: 4 }).resume().on('close', () => process.kill(process.pid, 'SIGKILL'))
`

class Refused extends Error {
  readonly code: ProbationCode

  constructor(code: ProbationCode, message: string) {
    super(message)
    this.code = code
  }
}

const say = (message: ProbationMessage): void => void process.send?.(message)

async function judge(candidate: Candidate): Promise<void> {
  let step: ProbationStep = 'files'
  const begin = (next: ProbationStep): void => {
    step = next
    say({ kind: 'began', step })
  }
  const done = (profile: ModelProfile | null, refusal: ProbationRefusal | null): void =>
    say({ kind: 'done', profile, refusal })
  try {
    done(await tryOut(candidate, begin), null)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    done(null, { step, code: error.code, message: error.message })
  }
}

async function tryOut(
  { folder, provider, limits, answerOnly }: Candidate,
  begin: (step: ProbationStep) => void,
): Promise<ModelProfile | null> {
  begin('files')
  const manifest = await readable('manifest', async () => readModelManifest(folder))
  checkSizes(manifest, limits.fileBytes)
  const model = await readable('digest', () => verifyModelFile(manifest))
  begin('structure')
  const problem = structureProblem(model, manifest, limits.allowed)
  if (problem !== null) throw new Refused(problem.code, problem.message)
  begin('load')
  const session = await open(manifest, provider)
  try {
    if (answerOnly) {
      say({ kind: 'answered', outputs: await answersOf(session) })
      return null
    }
    begin('batches')
    const rowBytes = bytesOfRow(manifest.input.features.length, manifest.output.width)
    const most = largestBatch(rowBytes, { maxRows: limits.rows, maxBytes: limits.batchBytes })
    await tryBatches(session, most)
    begin('missing')
    if (manifest.input.missing === 'nan') await tryMissing(session)
    begin('profile')
    return limits.measure ? await measureProfile(session, provider, most) : null
  } finally {
    await session.release()
  }
}

async function readable<T>(code: ProbationCode, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof PipelineError) throw new Refused(code, error.message)
    throw error
  }
}

function checkSizes({ folder, file, files }: ModelManifest, most: number): void {
  let bytes = 0
  for (const name of [file, ...files.map(({ path }) => path)]) {
    bytes += statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0
  }
  if (bytes > most) throw new Refused('size', `its files are ${bytes} bytes, ${most} are allowed`)
}

async function open(manifest: ModelManifest, provider: Candidate['provider']): Promise<ModelSession> {
  try {
    return await openModelSession(manifest, provider)
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    throw new Refused(error.code === 'provider_missing' ? 'provider_missing' : 'invalid_model', error.message)
  }
}

async function answersOf(session: ModelSession): Promise<Answers> {
  const { output } = session.manifest
  const outputs = Array.from(await run(session, goldenFeatures(session.manifest), 'its golden rows'))
  return session.manifest.golden.map((_, row) => outputs.slice(row * output.width, (row + 1) * output.width))
}

/** A row's outputs may not depend on how many rows are beside it, or what they are. */
async function tryBatches(session: ModelSession, most: number): Promise<void> {
  const { manifest } = session
  const { output, golden, tolerance } = manifest
  try {
    await session.run(new Float32Array(0))
  } catch (error) {
    say({
      kind: 'remark',
      text: `it fails on a batch of 0 rows, which it is never given: ${describeError(error).message}`,
    })
  }
  for (const count of [1, most]) {
    const { rows, golden: sources } = repeatedRows(manifest, count)
    const outputs = await run(session, rows, `a batch of ${count}`)
    for (const [row, source] of sources.entries()) {
      for (const [column, expected] of (golden[source]?.outputs ?? []).entries()) {
        const found = outputs[row * output.width + column] ?? Number.NaN
        if (Math.abs(found - expected) <= tolerance) continue
        const message = `golden[${source}].outputs[${column}] is ${expected}, in a batch of ${count} rows it is ${found}`
        throw new Refused('batches', message)
      }
    }
    const problem = outputProblem(manifest, outputs)
    if (problem !== null) throw new Refused('outputs', `in a batch of ${count} golden rows, ${problem}`)
  }
}

async function tryMissing(session: ModelSession): Promise<void> {
  const { manifest } = session
  const rows = rowsWithout(manifest)
  const outputs = await run(session, rows, 'missing features')
  const problem = outputProblem(manifest, outputs)
  if (problem !== null) throw new Refused('outputs', `input.missing is nan, but with features missing ${problem}`)
}

async function run(session: ModelSession, rows: Float32Array, what: string): Promise<Float32Array> {
  try {
    return await session.run(rows)
  } catch (error) {
    throw new Refused('batches', `it fails on ${what}: ${describeError(error).message}`)
  }
}

// an interrupt of the terminal reaches every process of its group: the parent decides when this one ends
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => undefined)
// where memory runs out, this process is the one to go, and not the parent
if (process.platform === 'linux') {
  try {
    writeFileSync('/proc/self/oom_score_adj', '900')
  } catch (error) {
    say({ kind: 'remark', text: describeError(error).message })
  }
}
new Worker(LIFELINE, { eval: true }).unref()
process.on('message', (candidate: Candidate) => {
  judge(candidate).catch((error: unknown) => {
    const { message } = describeError(error)
    say({ kind: 'failed', message })
  })
})
