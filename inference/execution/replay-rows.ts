import { ModelRunError, type PreparedModel } from './executor.ts'
import type { RowFailure } from './run-rows.ts'

/** What became of rows that were run one by one. */
export interface Replay {
  /** [rows, manifest.output.width] */
  readonly outputs: Float32Array
  readonly failures: ReadonlyMap<number, RowFailure>
  /** What the rows took that were answered, together, ms. */
  readonly tookMs: number
}

/** A row that takes longer may be one that hangs. */
const LONG_MS = 1_000
/** So many rows the other child is late with; then it leaves them all to the first one, since each costs it a start. */
const LOOKS = 4

/**
 * Runs rows one by one. `model` has the last word on each; while it is at one for long, `another` answers those that nobody is at,
 * and leaves to it what it has not answered soon. Two rows that take long are never run at once: each would have but a part of
 * the processor. `another` is asked for when it is needed, and answers null when there is none.
 */
export async function replayRows(
  model: PreparedModel,
  another: () => Promise<PreparedModel | null>,
  rows: Float32Array,
): Promise<Replay> {
  const { input, output } = model.manifest
  const features = input.features.length
  const count = rows.length / features
  const outputs = new Float32Array(count * output.width)
  const failures = new Map<number, RowFailure>()
  const { promise: replayed, resolve, reject } = Promise.withResolvers<void>()
  /** Rows that the other one was late with. */
  const late: number[] = []
  let next = 0
  let left = count
  let tookMs = 0
  let isAsking = false
  let isHelped = false

  async function answer(one: PreparedModel, row: number): Promise<void> {
    const run = await one.run(rows.subarray(row * features, (row + 1) * features))
    outputs.set(run.outputs, row * output.width)
    tookMs += run.tookMs
    ended()
  }

  function fail(row: number, { fault, message }: ModelRunError): void {
    failures.set(row, { reason: REASONS[fault], message })
    ended()
  }

  function ended(): void {
    left--
    if (left === 0) resolve()
  }

  function giveUp(error: unknown): void {
    next = count
    late.length = 0
    reject(error)
  }

  async function ask(): Promise<void> {
    if (isAsking) return
    isAsking = true
    for (let row = take(); row !== null; row = take()) {
      const long = setTimeout(() => void help().catch(giveUp), LONG_MS)
      try {
        await answer(model, row)
      } catch (error) {
        if (!(error instanceof ModelRunError)) throw error
        fail(row, error)
      } finally {
        clearTimeout(long)
      }
    }
    isAsking = false
  }

  function take(): number | null {
    return next < count ? next++ : (late.shift() ?? null)
  }

  async function help(): Promise<void> {
    if (isHelped || next === count) return
    isHelped = true
    const one = await another()
    for (let looks = 0; one !== null && looks < LOOKS && next < count; ) {
      const row = next++
      try {
        await answer(one, row)
      } catch (error) {
        if (error instanceof ModelRunError && error.fault !== 'timeout') {
          fail(row, error)
        } else {
          // what is no failure of a run is the first one's to tell, if it meets it, too
          looks = error instanceof ModelRunError ? looks + 1 : LOOKS
          late.push(row)
          ask().catch(giveUp)
        }
      }
    }
  }

  ask().catch(giveUp)
  await replayed
  return { outputs, failures, tookMs }
}

const REASONS = {
  rows: 'model_error',
  allocation: 'model_error',
  crash: 'model_crash',
  memory: 'model_crash',
  timeout: 'model_timeout',
} as const
