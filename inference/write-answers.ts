import type { VectorColumns } from '../infra/runtime/vectors.ts'
import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import type { ScoredRows } from './batching/micro-batcher.ts'
import { createPredictionTail, type PredictionTail, type RunFacts } from './prediction-tail.ts'
import { readOutputs } from './read-outputs.ts'
import type { ServedVersion } from './rollout/routes.ts'

/** What a version answers as. */
export type AnswerRole = 'primary' | 'canary'

/** What became of rows that one version was asked about. */
export interface Answers {
  readonly rows: number
  /** Its scores, where its answer may be used. Valid during the call. */
  readonly scores: Float32Array
  /** Rows that its answer was given for, in time. */
  readonly scored: number
  /** Rows that it failed on. */
  readonly failed: number
  /** Rows with an answer that may not be used. */
  readonly invalid: number
  /** Rows that its answer was late for, and was given. */
  readonly late: number
  /** Rows that the fallback was given for, whether its answer was late or may not be used. */
  readonly fallbacks: number
  /** Rows beside those that were late when they came: the fallback was given for them, and it was not asked. */
  readonly unasked: number
  /** What the model took for all of the rows, ms. */
  readonly runMs: number
  /** Rows of the runs that they were in, on average over them. */
  readonly runRows: number
}

/** A version, and what it answers as. */
interface Answerer {
  readonly version: ServedVersion
  readonly role: AnswerRole
}

interface ScoredLane {
  readonly vectors: VectorColumns
  /** [count] rows of the vectors that were scored. */
  readonly rows: Int32Array
  readonly scored: ScoredRows
  readonly unasked: number
  /** When the answer of each row of the vectors is late, epoch ms; null = never. */
  readonly due: Float64Array | null
  /** Set to 1 for each row of the vectors that has its prediction. */
  readonly answered: Uint8Array
}

type OnProblem = (row: number, problem: { readonly reason: string; readonly message: string }) => void

/** Writes answers behind the vectors that they belong to. */
export interface AnswerWriter {
  /** Bytes that a prediction takes behind its vector. */
  room(version: ServedVersion, role: AnswerRole): number
  write(answerer: Answerer, lane: ScoredLane, onProblem: OnProblem): Answers
  writeFallback(answerer: Answerer, vectors: VectorColumns, row: number, scoredAt: number): void
}

export function createAnswerWriter(choice: CompiledModelChoice): AnswerWriter {
  const { fallback } = choice
  const tails = new WeakMap<ServedVersion, Readonly<Record<AnswerRole, PredictionTail>>>()
  const run: RunFacts = { batchRows: 0, provider: 'cpu', scoredAt: 0, late: false }
  let scores = new Float32Array(0)

  function tailOf({ version, role }: Answerer): PredictionTail {
    let known = tails.get(version)
    if (known === undefined) {
      const { manifest } = version
      known = {
        primary: createPredictionTail(manifest, choice, 'primary'),
        canary: createPredictionTail(manifest, choice, 'canary'),
      }
      tails.set(version, known)
    }
    return known[role]
  }

  function problemOf({ version }: Answerer, { outputs, failures }: ScoredRows, at: number) {
    const failure = failures.get(at)
    if (failure !== undefined) return failure
    const { width } = version.manifest.output
    const read = readOutputs(version.manifest, choice, outputs.subarray(at * width, (at + 1) * width))
    if (!read.ok) return read.problem
    throw new Error('outputs that cannot be used have no problem')
  }

  return {
    room: (version, role) => tailOf({ version, role }).room,

    writeFallback(answerer, { values }, row, scoredAt) {
      const start = values.starts[row] as number
      const end = tailOf(answerer).writeFallback(values.bytes, start + (values.lengths[row] as number), scoredAt)
      values.lengths[row] = end - start
    },

    write(answerer, { vectors, rows, scored, unasked, due, answered }, onProblem) {
      const tail = tailOf(answerer)
      const { bytes, starts, lengths } = vectors.values
      const { outputs, failures, parts } = scored
      if (scores.length < rows.length) scores = new Float32Array(2 * rows.length)
      const hasFailures = failures.size > 0
      let good = 0
      let inTime = 0
      let invalid = 0
      let late = 0
      let fallbacks = 0
      let runMs = 0
      let runRows = 0
      for (const part of parts) {
        runMs += part.rowMs * (part.to - part.from)
        const { batchRows } = part
        run.provider = part.provider
        run.scoredAt = part.scoredAt
        for (let at = part.from; at < part.to; at++) {
          const row = rows[at] as number
          runRows += batchRows[at - part.from] as number
          const start = starts[row] as number
          const end = start + (lengths[row] as number)
          const isLate = due !== null && part.scoredAt > (due[row] as number)
          let written = -1
          if (!hasFailures || !failures.has(at)) {
            run.late = isLate
            run.batchRows = batchRows[at - part.from] as number
            written = tail.write(bytes, end, outputs, at, run)
            if (written < 0) invalid++
            else scores[good++] = tail.score
            if (fallback !== null && ((isLate && fallback.late) || (written < 0 && fallback.invalid))) {
              written = tail.writeFallback(bytes, end, part.scoredAt)
              fallbacks++
            } else if (written >= 0) {
              if (isLate) late++
              else inTime++
            }
          }
          if (written >= 0) {
            lengths[row] = written - start
            answered[row] = 1
          } else onProblem(row, problemOf(answerer, scored, at))
        }
      }
      return {
        rows: rows.length,
        scores: scores.subarray(0, good),
        scored: inTime,
        failed: failures.size,
        invalid,
        late,
        fallbacks,
        unasked,
        runMs,
        runRows: rows.length === 0 ? 0 : runRows / rows.length,
      }
    },
  }
}
