import { type Backoff, backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { describeError, fateOf, MillraceError, retryable } from '../../errors.ts'
import { aborted } from '../../lifecycle/aborted.ts'
import type { ColumnBatch } from '../consumer/column-batch.ts'
import type { Committed, LaneHooks, LaneSource } from '../consumer/lane-source.ts'
import type { LostRange } from '../consumer/start-position.ts'
import type { LaneClaims, LaneTail, LaneTopics, LaneWriter } from '../exactly-once/lane-writer.ts'
import type { BatchHandler } from '../outcome.ts'
import type { RecordColumns } from '../record-batches/columns.ts'
import { createHopLane, type HopLane } from './hop-lane.ts'
import type { HopObserver } from './hop-observer.ts'
import { createUnended, type OriginOf } from './unended.ts'

export interface HopLanesOptions {
  readonly claims: LaneClaims
  readonly topicsOf: (partition: number) => LaneTopics
  /** Topic id of the input. */
  readonly generation: string
  readonly originOf: OriginOf
  /** The handler's own. */
  readonly begin: NonNullable<BatchHandler['begin']>
  /** The dead letter that stands for records which retention took. */
  readonly lostLetter: (range: LostRange) => RecordColumns
  /** What becomes of the partition after that. */
  readonly goOnAfterRetentionLost: boolean
  /** Where a partition begins, for a reader that keeps its own positions; by default at what is committed. */
  readonly startAt?: ((partition: number) => Promise<number>) | undefined
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: HopObserver
  readonly stopping: AbortSignal
  /** What nobody understands. */
  readonly onFailure: (error: unknown) => void
}

/**
 * The claims of a hop: one for each partition that is assigned, made again when a write tells that it is not good any more.
 * A partition whose logs do not add up stops, and the others flow on; it is tried again when it is assigned anew.
 */
export interface HopLanes {
  /** For the source. Partitions are opened once `use` was called. */
  readonly hooks: LaneHooks
  use(source: LaneSource): void
  /** For the source: accounts for records that retention took, once. Never resolves when the partition has to stop. */
  retentionLost(range: LostRange): Promise<number>
  /** Every partition goes back to where `startAt` says now; what is out is forgotten. */
  restart(): Promise<void>
  get(partition: number): HopLane | undefined
  /** A batch that was taken. Called in the order of the batches. */
  add(batch: ColumnBatch): void
  /** Resolves when everything that was decided is written or has failed. */
  flushed(): Promise<void>
  /** Resolves when no lane is being opened again; call it after `stopping`. */
  reopened(): Promise<void>
}

export function createHopLanes(options: HopLanesOptions): HopLanes {
  const { clock, retry, observer, stopping } = options
  const lanes = new Map<number, HopLane>()
  const stoppedLanes = new Set<number>()
  const reopening = new Set<Promise<void>>()
  const joined = Promise.withResolvers<LaneSource>()

  function openLane(source: LaneSource, partition: number, writer: LaneWriter, metadata: string): void {
    const lane = createHopLane({
      partition,
      writer,
      metadata,
      unended: createUnended(writer.tail, options.originOf),
      events: {
        settled: (batch) => source.settle(batch),
        deferred({ deferral, batch }) {
          if (deferral === null) return
          const offset = batch.offset(deferral.index)
          observer.deferred({ partition, offset, code: deferral.code, message: deferral.message })
          keep(goBack(source, lane, offset))
        },
        failed: (error) => keep(claimAgain(source, lane, error)),
      },
    })
    lanes.set(partition, lane)
  }

  function keep(work: Promise<void>): void {
    const kept = work.catch(options.onFailure).finally(() => reopening.delete(kept))
    reopening.add(kept)
  }

  /** For a record that has to wait. The claim stays; the lane is held back for a while, so that it does not spin. */
  async function goBack(source: LaneSource, lane: HopLane, offset: number): Promise<void> {
    const { partition } = lane
    await untilDone(lane, null, async () => {
      await options.begin(partition, offset, offset, stopping)
      if (!isCurrent(lane)) return
      openLane(source, partition, lane.writer, lane.metadata())
      source.rewind(partition, offset, backoffMs(retry, 2))
    })
  }

  /** After a write that failed: what was sent may be in the log or not, so the log is asked. */
  async function claimAgain(source: LaneSource, lane: HopLane, cause: unknown): Promise<void> {
    const { partition } = lane
    await lane.end()
    await lane.writer.close()
    if (fateOf(cause) !== 'retry') return stopLane(partition, cause)
    await untilDone(lane, cause, async () => {
      const settled = source.positions().get(partition)?.settled
      if (settled === undefined || !(await source.confirm(partition))) return
      const writer = await claim(source, partition, { offset: settled, metadata: lane.metadata() }, stopping)
      const { resumeAt } = writer.tail
      try {
        await options.begin(partition, resumeAt, endedBelow(writer.tail), stopping)
      } catch (error) {
        await writer.close()
        throw error
      }
      if (!isCurrent(lane)) return await writer.close()
      openLane(source, partition, writer, writer.metadata())
      source.rewind(partition, resumeAt, 0)
    })
  }

  function isCurrent(lane: HopLane): boolean {
    return lanes.get(lane.partition) === lane && !stopping.aborted
  }

  /** Does the work, again and again while it fails with `retry` and the lane is still the partition's. */
  async function untilDone(lane: HopLane, cause: unknown, work: () => Promise<void>): Promise<void> {
    let error = cause
    for (let attempt = 1; isCurrent(lane); attempt++) {
      if (error !== null) {
        const waitMs = backoffMs(retry, attempt - 1)
        observer.retrying({ partition: lane.partition, ...describeError(error), attempt, waitMs })
        await clock.sleep(waitMs, stopping)
        if (!isCurrent(lane)) return
      }
      try {
        return await work()
      } catch (thrown) {
        if (fateOf(thrown) !== 'retry') return stopLane(lane.partition, thrown)
        error = thrown
      }
    }
  }

  /** Throws what does not concern this partition alone. */
  function stopLane(partition: number, error: unknown): void {
    if (!(error instanceof MillraceError)) throw error
    stoppedLanes.add(partition)
    observer.stopped({ partition, ...describeError(error) })
  }

  function claim(
    source: LaneSource,
    partition: number,
    committed: Committed,
    signal: AbortSignal,
  ): Promise<LaneWriter> {
    return options.claims.claim(options.topicsOf(partition), committed, () => source.confirm(partition), signal)
  }

  /** Null when the partition stopped, and was taken away later. */
  async function claimOrStop(
    source: LaneSource,
    partition: number,
    committed: Committed,
    signal: AbortSignal,
  ): Promise<LaneWriter | null> {
    try {
      return await claim(source, partition, committed, signal)
    } catch (error) {
      if (fateOf(error) === 'retry') throw error
      stopLane(partition, error)
      await aborted(signal)
      return null
    }
  }

  /** As `goBack`, for all partitions, and at once. */
  async function restart(): Promise<void> {
    const source = await joined.promise
    await Promise.all(
      [...lanes.values()].map(async (lane) => {
        const { partition } = lane
        const offset = await options.startAt?.(partition)
        if (offset === undefined) return
        await options.begin(partition, offset, offset, stopping)
        if (!isCurrent(lane)) return
        void lane.end()
        openLane(source, partition, lane.writer, lane.metadata())
        source.rewind(partition, offset, 0)
      }),
    )
  }

  async function retentionLost(range: LostRange): Promise<number> {
    const { partition, from, to } = range
    const lane = lanes.get(partition)
    if (lane === undefined || lane.over) throw retryable('lane_lost', `partition ${partition} is not claimed`)
    await lane.flushed()
    // after a restart its letter may be there
    if (!lane.writer.tail.ended(from, null)) {
      try {
        await lane.writer.write(options.lostLetter(range), null, from)
      } catch (error) {
        if (!lane.over) keep(claimAgain(await joined.promise, lane, error))
        throw error
      }
    }
    const message = `offsets ${from} to ${to - 1} of partition ${partition} were deleted before they were read`
    const lost = { partition, code: 'retention_lost', message }
    if (options.goOnAfterRetentionLost) {
      observer.passedOver(lost)
      return to
    }
    observer.stopped(lost)
    return await new Promise<never>(() => {})
  }

  /** Passes a failure on that the source tries again after. */
  async function told<T>(partition: number, work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (fateOf(error) === 'retry') observer.retrying({ partition, ...describeError(error), attempt: 1, waitMs: 0 })
      throw error
    }
  }

  /** Behind every input record that the tail may have ended; for the events topic, whose records are their own origin. */
  function endedBelow({ resumeAt, askBelow }: LaneTail): number {
    if (askBelow === null) return resumeAt
    const origin = askBelow.originGeneration === options.generation ? askBelow.origin : 0
    return Math.max(resumeAt, askBelow.source, origin)
  }

  return {
    use: joined.resolve,
    retentionLost,
    restart,
    get: (partition) => lanes.get(partition),
    add: (batch) => lanes.get(batch.partition)?.add(batch),
    async flushed() {
      await Promise.all([...lanes.values()].map((lane) => lane.flushed()))
    },
    async reopened() {
      await Promise.all(reopening)
    },
    hooks: {
      async open(partition, committed, signal) {
        const source = await joined.promise
        const offset = (await options.startAt?.(partition)) ?? committed.offset
        const writer = await told(partition, claimOrStop(source, partition, { ...committed, offset }, signal))
        if (writer === null || signal.aborted) {
          await writer?.close()
          throw retryable('lane_lost', `partition ${partition} was taken away before it was claimed`)
        }
        try {
          await options.begin(partition, writer.tail.resumeAt, endedBelow(writer.tail), signal)
        } catch (error) {
          await writer.close()
          throw error
        }
        openLane(source, partition, writer, writer.metadata())
        observer.began(partition)
        return writer.tail.resumeAt
      },
      metadata: (partition) => lanes.get(partition)?.metadata() ?? '',
      draining(partition) {
        // nobody works on it any more, so there is nothing to wait for
        if (!stoppedLanes.has(partition)) return
        void joined.promise.then((source) => {
          const settled = source.positions().get(partition)?.settled
          if (settled !== undefined) source.rewind(partition, settled, 0)
        })
      },
      async close(partition) {
        const lane = lanes.get(partition)
        lanes.delete(partition)
        stoppedLanes.delete(partition)
        observer.began(partition)
        await lane?.end()
        await lane?.writer.close()
      },
    },
  }
}
