import { sliceAt } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import type { OutgoingRecord } from '../../../infra/runtime/kafka/record-writer.ts'
import type { CompiledModelChoice } from '../../../schemas/pipeline/compiled.ts'
import type { ScoredRows } from '../../batching/micro-batcher.ts'
import { createPredictionTail, type PredictionTail, type RunFacts } from '../../prediction-tail.ts'
import type { ServedVersion } from '../routes.ts'
import type { ShadowRows } from './shadow-rows.ts'

/** Uncompressed records of one batch: brokers refuse more than 1,048,588 bytes. */
const BATCH_BYTES = 900_000
/** Lengths, deltas and header prefixes of one record. */
const OVERHEAD_BYTES = 48

/** What became of rows that a shadow version was asked about. */
export interface ShadowAnswers {
  /** Of those with an answer that may be used, in order, under their own keys. */
  readonly records: readonly OutgoingRecord[]
  /** Their scores. Valid until the next call. */
  readonly scores: Float32Array
  /** Rows with an answer that may not be used. */
  readonly invalid: number
  /** What the model took for all of them, ms. */
  readonly runMs: number
  /** Rows of the runs that they were in, on average over them. */
  readonly runRows: number
}

/** Makes vectors into a shadow's predictions, where they lie. */
export interface ShadowRecords {
  /** Bytes that a prediction takes behind its vector. */
  room(version: ServedVersion): number
  /** Row i of `scored` is row `fit[i]` of `rows`. */
  write(rows: ShadowRows, fit: Int32Array, scored: ScoredRows): ShadowAnswers
}

export function createShadowRecords(choice: CompiledModelChoice): ShadowRecords {
  const tails = new WeakMap<ServedVersion, PredictionTail>()
  // a shadow answers nobody, so no answer of it is late
  const run: RunFacts = { batchRows: 0, provider: 'cpu', scoredAt: 0, late: false }
  let scores = new Float32Array(0)

  function tailOf(version: ServedVersion): PredictionTail {
    const known = tails.get(version)
    if (known !== undefined) return known
    const tail = createPredictionTail(version.manifest, choice, 'shadow')
    tails.set(version, tail)
    return tail
  }

  return {
    room: (version) => tailOf(version).room,

    write({ version, keys, values }, fit, { outputs, failures, parts }) {
      const tail = tailOf(version)
      const records: OutgoingRecord[] = []
      if (scores.length < fit.length) scores = new Float32Array(2 * fit.length)
      let invalid = 0
      let runMs = 0
      let runRows = 0
      for (const { from, to, provider, scoredAt, batchRows, rowMs } of parts) {
        run.provider = provider
        run.scoredAt = scoredAt
        runMs += (to - from) * rowMs
        for (let at = from; at < to; at++) {
          runRows += batchRows[at - from] as number
          if (failures.size > 0 && failures.has(at)) continue
          const row = fit[at] as number
          const start = values.starts[row] as number
          run.batchRows = batchRows[at - from] as number
          const end = tail.write(values.bytes, start + (values.lengths[row] as number), outputs, at, run)
          if (end < 0) invalid++
          else {
            scores[records.length] = tail.score
            records.push({ key: sliceAt(keys, row), value: values.bytes.subarray(start, end) })
          }
        }
      }
      return {
        records,
        scores: scores.subarray(0, records.length),
        invalid,
        runMs,
        runRows: runRows / Math.max(1, fit.length),
      }
    },
  }
}

/** As brokers take them. */
export function* batchesOf(records: readonly OutgoingRecord[]): Generator<readonly OutgoingRecord[]> {
  let from = 0
  let bytes = 0
  for (const [at, { key, value }] of records.entries()) {
    const more = value.length + (key?.length ?? 0) + OVERHEAD_BYTES
    if (at > from && bytes + more > BATCH_BYTES) {
      yield records.slice(from, at)
      from = at
      bytes = 0
    }
    bytes += more
  }
  if (from < records.length) yield records.slice(from)
}
