import { type Backoff, backoffMs } from '../../infra/runtime/backoff.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fateOf, MillraceError } from '../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneSource } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import type { TakeLimits } from '../../infra/runtime/kafka/consumer/take-limits.ts'
import type { AnswerReader } from './read-answers.ts'

/** Must not throw. */
export interface ResultsObserver {
  /** Answers that are in Redis, and requests that waited for one of them and were told. */
  stored(round: { readonly answers: number; readonly passed: number; readonly notified: number }): void
  /** Redis or the registry is away; it is tried again. */
  retrying(round: { readonly code: string; readonly message: string; readonly attempt: number }): void
}

export interface ResultsLoopOptions {
  readonly source: Pick<LaneSource, 'take' | 'settle' | 'owns'>
  readonly read: AnswerReader
  /** Stores blocks of entries in one round trip; how many requests were told. */
  readonly store: (blocks: readonly Buffer[]) => Promise<number>
  readonly ttlMs: number
  readonly limits: TakeLimits
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: ResultsObserver
}

export interface ResultsLoop {
  /** Resolves once the source has no more, or after `stopping` has aborted; rejects with what nobody understands. */
  readonly ended: Promise<void>
  workingForMs(): number
  /** Something that is waited for holds it up. */
  isWaiting(): boolean
}

/**
 * Answers go to Redis in the order of their lanes, at least once: a copy more is the same copy. Nothing depends on them, so whatever
 * is wrong with Redis (its password, too) is waited out, and what is too old by then is passed over.
 */
export function runResults(options: ResultsLoopOptions, stopping: AbortSignal): ResultsLoop {
  const { source, read, store, ttlMs, limits, retry, clock, observer } = options
  let workingSince: number | null = null
  let waits = false

  async function storeOnce(batches: readonly ColumnBatch[]): Promise<void> {
    const since = clock.now() - ttlMs
    const found = await Promise.all(batches.map((batch) => read(batch, since)))
    const blocks = found.flatMap((each) => each.blocks)
    const notified = blocks.length === 0 ? 0 : await store(blocks)
    const sum = (count: (each: (typeof found)[number]) => number) => found.reduce((all, each) => all + count(each), 0)
    observer.stored({ answers: sum((each) => each.answers), passed: sum((each) => each.passed), notified })
  }

  async function storeAll(batches: readonly ColumnBatch[]): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      workingSince = clock.monotonic()
      try {
        await storeOnce(batches.filter((batch) => source.owns(batch)))
        waits = false
        return true
      } catch (error) {
        if (!passes(error)) throw error
        waits = true
        observer.retrying({ ...describeError(error), attempt })
        if (stopping.aborted) return false
        await clock.sleep(backoffMs(retry, attempt - 1), stopping)
        if (stopping.aborted) return false
      }
    }
  }

  async function loop(): Promise<void> {
    for (;;) {
      const batches = await source.take(limits)
      if (batches.length === 0) return
      const stored = await storeAll(batches)
      workingSince = null
      if (!stored) return
      for (const batch of batches) source.settle(batch)
    }
  }

  const ended = loop()
  ended.catch(() => {})
  return {
    ended,
    workingForMs: () => (workingSince === null ? 0 : clock.monotonic() - workingSince),
    isWaiting: () => waits,
  }
}

const REDIS_CODES: ReadonlySet<string> = new Set(['redis_refused', 'redis_error'])

function passes(error: unknown): boolean {
  return fateOf(error) === 'retry' || (error instanceof MillraceError && REDIS_CODES.has(error.code))
}
