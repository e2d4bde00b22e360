import type { AvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import type { Backoff } from '../../../infra/runtime/backoff.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import { MillraceError, retryable } from '../../../infra/runtime/errors.ts'
import type { TakeLimits } from '../../../infra/runtime/kafka/batch-source.ts'
import type { Committed, LaneHooks, LaneSource } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import type { Started } from '../../../infra/runtime/lifecycle/scope.ts'
import type { RowKind } from '../stored-row.ts'
import type { ChunkLimits } from './chunk.ts'
import { rowEncoder } from './encode-row.ts'
import { createInsertPace } from './insert-pace.ts'
import { claimLetters, type LetterTopics } from './lane-letters.ts'
import { decodeMetadata } from './pend.ts'
import { type LaneStart, type SealedLane, startSealedLane } from './sealed-lane.ts'
import type { SealedSinkObserver } from './sealed-observer.ts'
import type { SealedStore } from './sealed-store.ts'

export interface SealedSinkOptions<T> {
  /** Joins the group; the hooks are the sink's. */
  readonly startSource: (hooks: LaneHooks) => Promise<Started<LaneSource>>
  readonly topic: string
  /** Partitions of the topic. */
  readonly partitions: number
  readonly reader: AvroReader<T>
  readonly rows: RowKind<T>
  readonly store: SealedStore
  /** Null = what cannot be stored stops its partition: of dead letters, that must not become dead letters of their own. */
  readonly letters: LetterTopics | null
  readonly limits: ChunkLimits
  readonly insertsPerSecond: number
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: SealedSinkObserver
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

const MENDED_BY_HAND = new Set([
  'metadata_unreadable',
  'foreign_position',
  'foreign_record',
  'output_truncated',
  'topic_recreated',
])

/**
 * Stores each record of a topic in one table of ClickHouse, exactly once: by chunks that are announced in the commit of their
 * position before they are inserted (land-chunk.ts). What cannot be stored becomes a dead letter, once. `stop` lands
 * what is there; while ClickHouse is away it leaves that to the next owner of the partition instead.
 */
export async function startSealedSink<T>(options: SealedSinkOptions<T>): Promise<Started<SealedSink>> {
  const { topic, reader, store, limits, retry, clock, observer } = options
  const lanes = new Map<number, SealedLane>()
  const failure = Promise.withResolvers<never>()
  failure.promise.catch(() => {})
  const encode = rowEncoder(options.rows)
  const pace = createInsertPace({
    perSecond: options.insertsPerSecond,
    share: () => lanes.size / Math.max(options.partitions, lanes.size),
  })

  const hooks: LaneHooks = {
    async open(partition, committed, signal) {
      const { metadata, letters } = await take(partition, committed, signal)
      if (signal.aborted) {
        await letters?.close()
        throw retryable('lane_lost', `${topic}/${partition} was taken away while it was opened`)
      }
      const isClear = !(metadata instanceof MillraceError) && metadata.pend === null
      const position = isClear ? (letters?.resumeAt ?? committed.offset) : committed.offset
      const lane = startSealedLane(
        { topic, source: source(), reader, encode, store, limits, pace, retry, clock, observer },
        { partition, position, metadata, letters },
      )
      lane.ended.catch((error: unknown) => failure.reject(error))
      lanes.set(partition, lane)
      return position
    },
    metadata: (partition, offset) => lanes.get(partition)?.metadata(offset) ?? null,
    draining: (partition) => lanes.get(partition)?.hurry(),
    async close(partition) {
      const lane = lanes.get(partition)
      lanes.delete(partition)
      await lane?.end()
    },
  }

  /** What its last owner left. What only somebody can mend stops this partition, and no other. */
  async function take(
    partition: number,
    committed: Committed,
    signal: AbortSignal,
  ): Promise<Pick<LaneStart, 'metadata' | 'letters'>> {
    try {
      const metadata = decodeMetadata(committed.metadata, committed.offset)
      if (options.letters === null) return { metadata, letters: null }
      const from = { offset: committed.offset, metadata: metadata.mark }
      const ownership = { partition, signal, confirm: () => source().confirm(partition) }
      return { metadata, letters: await claimLetters(options.letters, from, ownership) }
    } catch (error) {
      if (!(error instanceof MillraceError) || !MENDED_BY_HAND.has(error.code)) throw error
      return { metadata: error, letters: null }
    }
  }

  let started: Started<LaneSource> | null = null
  const source = (): LaneSource => {
    if (started === null) throw retryable('lane_lost', `${topic}: the group is being joined`)
    return started.value
  }

  async function loop(from: LaneSource): Promise<void> {
    for (;;) {
      const batches = await Promise.race([failure.promise, from.take(TAKE)])
      if (batches.length === 0) break
      for (const batch of batches) lanes.get(batch.partition)?.add(batch)
    }
    const open = [...lanes.values()]
    for (const lane of open) lane.finish()
    await Promise.race([failure.promise, Promise.all(open.map((lane) => lane.ended))])
  }

  const joined = await options.startSource(hooks)
  started = joined
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
        await joined.stop()
        await options.letters?.claims.close()
      }
    },
  }
}
