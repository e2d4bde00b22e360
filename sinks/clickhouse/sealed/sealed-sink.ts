import type { AvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import type { Backoff } from '../../../infra/runtime/backoff.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError, MillraceError, retryable } from '../../../infra/runtime/errors.ts'
import {
  type Committed,
  type LaneHooks,
  type LaneSource,
  SET_BY_HAND,
} from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import type { LostRange } from '../../../infra/runtime/kafka/consumer/start-position.ts'
import type { TakeLimits } from '../../../infra/runtime/kafka/consumer/take-limits.ts'
import { aborted } from '../../../infra/runtime/lifecycle/aborted.ts'
import type { Started } from '../../../infra/runtime/lifecycle/scope.ts'
import { createSpareMemory } from '../../../infra/runtime/spare-memory.ts'
import type { AvroSchema } from '../../../schemas/pipeline/compiled.ts'
import { createNativeTable } from '../native/native-rows.ts'
import type { RowKind } from '../stored-row.ts'
import { rowCheck } from './check-row.ts'
import type { ChunkLimits } from './chunk.ts'
import { createInsertPace } from './insert-pace.ts'
import { laneName } from './land-chunk.ts'
import { claimLetters, type LaneLetters, type LetterTopics } from './lane-letters.ts'
import { decodeMetadata, type SealedMetadata } from './pend.ts'
import { createRecordQueue } from './record-queue.ts'
import { type SealedLane, type SealedLaneDeps, startSealedLane } from './sealed-lane.ts'
import type { SealedSinkObserver } from './sealed-observer.ts'
import type { SealedStore } from './sealed-store.ts'

export interface SealedSinkOptions<T> {
  /** Joins the group; the hooks are the sink's. */
  readonly startSource: (
    hooks: LaneHooks,
    onRetentionLost: (range: LostRange) => Promise<number>,
  ) => Promise<Started<LaneSource>>
  readonly topic: string
  /** Partitions of the topic. */
  readonly partitions: number
  readonly reader: AvroReader<T>
  /** What it decodes to. */
  readonly schema: AvroSchema
  readonly rows: RowKind<T>
  readonly store: SealedStore
  /** Null = what cannot be stored stops its partition: of dead letters, that must not become dead letters of their own. */
  readonly letters: LetterTopics | null
  readonly limits: ChunkLimits
  readonly insertsPerSecond: number
  /** When records were deleted before they were read: true = the partition goes on behind them, else it stops. */
  readonly goOnAfterRetentionLost: boolean
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: SealedSinkObserver
  /** How an operator lets a partition go on at an offset. */
  readonly repairCommand: SealedLaneDeps['repairCommand']
}

export interface SealedSink {
  readonly source: LaneSource
  /** Resolves when the sink has ended after `stop`; rejects with what it did not understand. */
  readonly ended: Promise<void>
  /** Time since the oldest chunk in work began or was last tried; 0 while none is. What liveness looks at. */
  workingForMs(): number
}

/** Chunks are closed by their lanes, so the source never waits for more. */
const TAKE: TakeLimits = { maxRows: 50_000, maxBytes: 16_777_216, lingerMs: 0 }
/** Of chunks that have landed. */
const MAX_SPARE_BYTES = 8_388_608

/**
 * Stores each record of a topic in one table of ClickHouse, exactly once: by chunks that are announced in the commit of their
 * position before they are inserted (land-chunk.ts). What cannot be stored becomes a dead letter, once. A partition whose logs
 * do not add up stops, and the others flow on. `stop` lands what is there; while ClickHouse is away it leaves that to the next
 * owner of the partition.
 */
export async function startSealedSink<T>(options: SealedSinkOptions<T>): Promise<Started<SealedSink>> {
  const { topic, reader, observer } = options
  const lanes = new Map<number, SealedLane>()
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {})
  const joining = Promise.withResolvers<LaneSource>()
  const check = rowCheck(options.rows)
  const native = createNativeTable(options.rows, reader, options.schema)
  const memory = createSpareMemory(MAX_SPARE_BYTES)
  const pace = createInsertPace({
    perSecond: options.insertsPerSecond,
    share: () => lanes.size / Math.max(options.partitions, lanes.size),
  })

  const hooks: LaneHooks = {
    async open(partition, committed, signal) {
      const source = await joining.promise
      const taken = await takeOrStop(source, partition, committed, signal)
      if (taken === null || signal.aborted) {
        await taken?.letters?.close()
        throw retryable('lane_lost', `${topic}/${partition} was taken away before it was opened`)
      }
      const { metadata, letters } = taken
      const position = metadata.pend === null ? (letters?.resumeAt ?? committed.offset) : committed.offset
      const queue = createRecordQueue({
        reader,
        check,
        ended: (offset) => letters?.ended(offset) ?? false,
        mayReject: letters !== null,
      })
      const lane = startSealedLane(
        { ...options, source, pace, memory, native },
        { partition, position, metadata, queue, letters },
      )
      lane.ended.catch((error: unknown) => {
        failure.reject(error)
        source.endIntake()
      })
      lanes.set(partition, lane)
      // nothing of it is settled before the whole of it has landed
      if (metadata.pend !== null) source.reach(partition, metadata.pend.b)
      observer.began(partition)
      return position
    },
    metadata: (partition, offset) => lanes.get(partition)?.metadata(offset) ?? null,
    draining: (partition) => lanes.get(partition)?.drain(),
    async close(partition) {
      const lane = lanes.get(partition)
      lanes.delete(partition)
      observer.began(partition)
      await lane?.end()
    },
  }

  /** A position that was set by hand says nothing of what the owners before have inserted, or still insert. */
  async function withUnannounced(
    source: LaneSource,
    partition: number,
    { offset, metadata: text }: Committed,
  ): Promise<SealedMetadata> {
    const metadata = decodeMetadata(text, offset)
    if (text !== SET_BY_HAND) return metadata
    const { store } = options
    await store.endInserts(laneName(store.table, source.generation, partition))
    const below = await store.storedBelow(source.generation, partition)
    return { ...metadata, readBackBelow: below > offset ? below : 0 }
  }

  /** What the last owner left. Null when only somebody could mend it, and the partition was taken away. */
  async function takeOrStop(
    source: LaneSource,
    partition: number,
    committed: Committed,
    signal: AbortSignal,
  ): Promise<{ readonly metadata: SealedMetadata; readonly letters: LaneLetters | null } | null> {
    try {
      const metadata = await withUnannounced(source, partition, committed)
      if (options.letters === null) return { metadata, letters: null }
      const from = { offset: committed.offset, metadata: metadata.mark }
      const ownership = { partition, signal, confirm: () => source.confirm(partition) }
      return { metadata, letters: await claimLetters(options.letters, from, ownership) }
    } catch (error) {
      if (!(error instanceof MillraceError) || error.fate === 'retry') throw error
      observer.stopped({ partition, ...describeError(error) })
      await aborted(signal)
      return null
    }
  }

  async function retentionLost(range: LostRange): Promise<number> {
    const { partition, from, to } = range
    const lane = lanes.get(partition)
    if (lane === undefined) throw retryable('lane_lost', `${topic}/${partition} is not open`)
    await lane.skipLost(range)
    const lost = `${topic}/${partition}: offsets ${from} to ${to - 1} were deleted before they were read`
    if (options.goOnAfterRetentionLost) {
      observer.passedOver({ partition, code: 'retention_lost', message: lost })
      return to
    }
    const command = options.repairCommand(partition, to)
    observer.stopped({ partition, code: 'retention_lost', message: `${lost}. To go on behind them: ${command}` })
    return await new Promise<never>(() => {})
  }

  async function loop(from: LaneSource): Promise<void> {
    for (;;) {
      // a race against `failure` would keep what every turn took for as long as that is open; a failure ends the intake
      const batches = await from.take(TAKE)
      if (batches.length === 0) break
      // one that went back while `take` resolved comes again
      for (const batch of batches) if (from.owns(batch)) lanes.get(batch.partition)?.add(batch)
    }
    const open = [...lanes.values()]
    for (const lane of open) lane.finish()
    await Promise.race([failure.promise, Promise.all(open.map((lane) => lane.ended))])
  }

  const joined = await options.startSource(hooks, retentionLost)
  joining.resolve(joined.value)
  const ended = loop(joined.value)
  // the owner awaits `ended` or `stop`; a failure before that must not count as unhandled
  ended.catch(() => {})
  return {
    value: {
      source: joined.value,
      ended,
      workingForMs: () => Math.max(0, ...[...lanes.values()].map((lane) => lane.workingForMs())),
    },
    async stop() {
      joined.value.endIntake()
      try {
        await ended
      } finally {
        for (const lane of lanes.values()) lane.finish()
        await joined.stop()
        await options.letters?.claims.close()
      }
    },
  }
}
