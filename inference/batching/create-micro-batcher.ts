import { setImmediate as yieldToSockets } from 'node:timers/promises'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { RunResult, RunRows } from '../execution/run-rows.ts'
import { type BatchPolicy, LONGEST_SERIES } from './batch-policy.ts'
import { createLaneQueues } from './lane-queues.ts'
import type { MicroBatch, MicroBatcher, ReleaseReason } from './micro-batcher.ts'
import { PendingWork, rowsOf, type Segment } from './pending-work.ts'

/** Must not throw. */
export interface BatchObserver {
  /** A batch was answered or refused. */
  ran(batch: MicroBatch): void
}

export interface MicroBatcherDeps {
  /** Floats of a row. */
  readonly width: number
  /** Floats of a row's outputs. */
  readonly outputWidth: number
  readonly run: RunRows
  /** Runs that may be under way at once. */
  readonly slots: number
  /** Whether a run blocks this thread: then it is left to others between two runs. */
  readonly inline: boolean
  readonly policy: BatchPolicy
  readonly clock: Clock
  readonly observer: BatchObserver
}

/** A micro-batch whose rows have left the queue. */
interface Released {
  readonly segments: readonly Segment[]
  readonly rows: number
  readonly reason: ReleaseReason
  /** Monotonic ms, as all times. */
  readonly arrivedAt: number
  readonly startedAt: number
  readonly tensor: Float32Array
  readonly buffer: Float32Array | null
}

/** And was run. */
interface Ran extends Released {
  /** Null = it was refused, with `error`. */
  readonly result: RunResult | null
  readonly error: unknown
  readonly endedAt: number
  /** Epoch ms. */
  readonly scoredAt: number
}

/** A model's own run begins in a turn of its own. */
function hadTurn({ result }: Ran): boolean {
  return result?.runMs !== undefined
}

export function createMicroBatcher(deps: MicroBatcherDeps): MicroBatcher {
  const { width, outputWidth, run, slots, inline, policy, clock, observer } = deps
  const queues = createLaneQueues()
  /** Buffers that no run reads: a run may read its rows until it has settled. */
  const spare: Float32Array[] = []
  let running = 0
  let runningRows = 0
  let scheduled = false
  let wakesAt = Number.POSITIVE_INFINITY
  let lastEnd = Number.NEGATIVE_INFINITY

  /** Asks the policy once everything is queued that is submitted in this turn. */
  function schedule(): void {
    if (scheduled) return
    scheduled = true
    queueMicrotask(() => {
      scheduled = false
      release()
    })
  }

  function release(): void {
    while (running < slots && queues.rows > 0) {
      const now = clock.monotonic()
      const state = { now, rows: queues.rows, running, since: queues.since(), deadline: queues.deadline() }
      const decision = policy.decide(state)
      if (typeof decision === 'number') {
        if (Number.isFinite(decision)) wakeAt(decision, now)
        return
      }
      const cap = policy.cap(queues.rows)
      void runSeries(decision, cap, decision === 'full' ? policy.seriesMs(queues.rows) : 0)
    }
  }

  function wakeAt(at: number, now: number): void {
    if (at >= wakesAt) return
    wakesAt = at
    void clock.sleep(Math.max(0, at - now)).then(() => {
      if (wakesAt === at) wakesAt = Number.POSITIVE_INFINITY
      schedule()
    })
  }

  /** The rows of a batch, one behind the other; those of a single segment where they are. */
  function gather(batch: readonly Segment[], rows: number): { tensor: Float32Array; buffer: Float32Array | null } {
    const [only] = batch
    if (batch.length === 1 && only !== undefined) {
      const { pending, from, to } = only
      const { work } = pending
      return {
        tensor: to - from === pending.count ? work.rows : work.rows.subarray(from * width, to * width),
        buffer: null,
      }
    }
    let buffer = spare.pop()
    if (buffer === undefined || buffer.length < rows * width) buffer = new Float32Array(rows * width)
    for (const { pending, from, to, at } of batch)
      buffer.set(pending.work.rows.subarray(from * width, to * width), at * width)
    return { tensor: buffer.subarray(0, rows * width), buffer }
  }

  function complete(result: RunResult, rows: number): RunResult {
    const { outputs, batchRows } = result
    if (outputs.length === rows * outputWidth && batchRows.length === rows) return result
    throw new RangeError(`${outputs.length} outputs of ${batchRows.length} rows for ${rows}`)
  }

  function take(decision: ReleaseReason, cap: number): Released {
    const turns = policy.isLate(queues.rows) ? 'least' : 'oldest'
    const segments = queues.take(cap, policy.aloneRows, turns)
    const rows = rowsOf(segments)
    let arrivedAt = Number.POSITIVE_INFINITY
    for (const { pending } of segments) {
      // read before the run, which may come back with everything else done
      arrivedAt = Math.min(arrivedAt, pending.work.arrivedAt)
      pending.began()
    }
    runningRows += rows
    const reason = decision === 'drained' && queues.rows > 0 ? 'full' : decision
    const gathered = gather(segments, rows)
    const startedAt = clock.monotonic()
    return { segments, rows, reason, arrivedAt, startedAt, ...gathered }
  }

  async function runModel(batch: Released): Promise<Ran> {
    let result: RunResult | null = null
    let error: unknown
    try {
      result = complete(await run(batch.tensor), batch.rows)
    } catch (reason) {
      error = reason
    }
    return { ...batch, result, error, endedAt: clock.monotonic(), scoredAt: clock.now() }
  }

  function answer(batch: Ran, cap: number): void {
    const { segments, rows, reason, buffer, result, arrivedAt, startedAt, endedAt, scoredAt } = batch
    // the runs of several slots are made one after the other: what one waited for the last is not its own
    const runMs = endedAt - Math.max(startedAt, lastEnd)
    lastEnd = endedAt
    runningRows -= rows
    if (buffer !== null) spare.push(buffer)
    if (result === null) {
      for (const { pending } of segments) {
        queues.drop(pending)
        pending.fail(batch.error)
      }
    } else {
      // rows that had to be isolated took many runs
      if (result.tooMany === true) policy.tooMany(rows, result.provider)
      else if (result.failures.size === 0) policy.ran(rows, cap, reason, result.runMs ?? runMs, result.provider)
      const answered = { scoredAt, rowMs: runMs / rows }
      for (const segment of segments) segment.pending.answer(segment, result, answered)
    }
    observer.ran({ reason, rows, cap, waitedMs: startedAt - arrivedAt, runMs })
  }

  /**
   * As many batches as fit into `seriesMs` one behind the other, at least one, while as many rows wait as the last one had, and
   * answered when that has been run: between two runs, in cold caches, answers cost twice as much. One that was not run by the
   * model alone, or refused, is the last.
   */
  async function runSeries(decision: ReleaseReason, cap: number, seriesMs: number): Promise<void> {
    running++
    const batches: Ran[] = []
    const endsAt = clock.monotonic() + seriesMs
    let last: Ran
    do {
      last = await runModel(take(decision, cap))
      batches.push(last)
    } while (
      hadTurn(last) &&
      last.endedAt + (last.endedAt - last.startedAt) <= endsAt &&
      batches.length < LONGEST_SERIES &&
      queues.rows >= last.rows
    )
    for (const batch of batches) answer(batch, cap)
    // while batches are full, the turns that runs have had are enough
    const gaveWay = hadTurn(last) && queues.rows >= policy.cap(queues.rows)
    if (inline && !gaveWay) await yieldToSockets()
    running--
    schedule()
  }

  return {
    get pending() {
      return queues.rows + runningRows
    },
    submit(work) {
      const count = work.rows.length / width
      if (!Number.isInteger(count))
        return Promise.reject(new RangeError(`${work.rows.length} floats are no rows of ${width}`))
      if (count === 0) return Promise.resolve({ outputs: new Float32Array(0), failures: new Map(), parts: [] })
      return new Promise((resolve, reject) => {
        const since = clock.monotonic()
        queues.push(new PendingWork(work, { count, since, outputWidth }, { resolve, reject }))
        policy.arrived(count)
        schedule()
      })
    },
  }
}
