import type { AvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { type Backoff, backoffMs } from '../../../infra/runtime/backoff.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError, fatal, fateOf, MillraceError } from '../../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneSource } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import { type Chunk, type ChunkLimits, chunkHash, type OpenChunk, openChunk, type RejectedRecord } from './chunk.ts'
import { type EncodedResult, unstored } from './encode-row.ts'
import type { InsertPace } from './insert-pace.ts'
import { type Landed, landChunk } from './land-chunk.ts'
import type { LaneLetters } from './lane-letters.ts'
import { encodeMetadata, type Pend, type SealedMetadata } from './pend.ts'
import type { SealedSinkObserver } from './sealed-observer.ts'
import type { SealedStore } from './sealed-store.ts'

export interface SealedLaneDeps<T> {
  readonly topic: string
  readonly source: Pick<LaneSource, 'generation' | 'settle' | 'commit' | 'confirm' | 'trusted'>
  readonly reader: AvroReader<T>
  readonly encode: (record: T, batch: ColumnBatch, index: number) => EncodedResult
  readonly store: SealedStore
  readonly limits: ChunkLimits
  readonly pace: InsertPace
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: SealedSinkObserver
}

export interface LaneStart {
  readonly partition: number
  /** Where the partition stands. */
  readonly position: number
  /** As the last owner left it; an error = the partition cannot be worked on until somebody has mended that. */
  readonly metadata: SealedMetadata | MillraceError
  /** Null = what cannot be stored must not become a dead letter: the partition stops. */
  readonly letters: LaneLetters | null
}

/**
 * One assignment of a partition to us. Its records go into the table chunk by chunk, in order:
 *
 *   collecting  records are decoded into a chunk, until it is full, old enough, or the one that was announced before
 *   landing     it is announced in a commit, inserted, and its unstorable records are written as dead letters
 *   stopped     a record can neither be stored nor given up; somebody has to decide
 *   over        the partition went away, or is left to its next owner: nothing more is sent
 */
export interface SealedLane {
  readonly partition: number
  add(batch: ColumnBatch): void
  /** Close the chunk that is being collected: no more records may come. */
  hurry(): void
  /** The last step: finishes what is there; what cannot be finished now stays announced for the next owner. */
  finish(): void
  /** Resolves when the lane is over, and rejects with what nobody understands. */
  readonly ended: Promise<void>
  /** Nothing more is sent. */
  end(): Promise<void>
  metadata(offset: number): string | null
  /** 0 while it waits for records. */
  workingForMs(): number
}

const OVER = 'lane_over'
/** What no stage of Millrace would write. */
const FOREIGN = new Set(['not_avro', 'undecodable', 'unknown_schema', 'incompatible_schema'])
const NOTHING: SealedMetadata = { pend: null, mark: '' }

export function startSealedLane<T>(deps: SealedLaneDeps<T>, start: LaneStart): SealedLane {
  const { source, reader, clock, observer, limits } = deps
  const { partition, letters } = start
  const over = new AbortController()
  /** Batches with records that are in no chunk yet; `next` = the first such record of the first batch. */
  const queue: ColumnBatch[] = []
  let next = 0
  let prepared = false
  /** All batches that are not settled, in their order. */
  const out: ColumnBatch[] = []
  let position = start.position
  const left = start.metadata instanceof MillraceError ? NOTHING : start.metadata
  let announced: Pend | null = left.pend
  let takenOver = announced !== null
  let mark = letters?.mark() ?? left.mark
  let stopped = false
  /** Since the last commit without an announcement. */
  let uncommitted = false
  let hurrying = false
  let busySince: number | null = null
  let nap: AbortController | null = null
  const finishing = new AbortController()
  const leaving = AbortSignal.any([finishing.signal, over.signal])

  const where = (offset: number): string => `${deps.topic}/${partition} offset ${offset}`
  const isOver = (): boolean => over.signal.aborted

  /** Until something happens to this lane, at most for `ms`. */
  async function rest(ms: number | null): Promise<void> {
    nap = new AbortController()
    const { signal } = nap
    if (ms !== null) return await clock.sleep(ms, signal)
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  }

  /** What is out is handed back unfinished: no position is committed for it any more. */
  function giveUp(): void {
    over.abort()
    nap?.abort()
    for (const batch of out.splice(0)) source.settle(batch)
  }

  async function owned(): Promise<void> {
    busySince = clock.monotonic()
    for (;;) {
      if (isOver()) throw fatal(OVER, `${deps.topic}/${partition} is not ours any more`)
      const ours = await source.confirm(partition)
      if (!ours) over.abort()
      else if (source.trusted()) return
    }
  }

  async function announce(pend: Pend): Promise<void> {
    announced = pend
    const ours = await source.commit(partition, pend.a, encodeMetadata({ pend, mark }))
    if (!ours) over.abort()
    if (isOver()) throw fatal(OVER, `${deps.topic}/${partition} is not ours any more`)
  }

  function createAgain(): (error: unknown) => Promise<void> {
    let attempt = 0
    return async (error) => {
      if (finishing.signal.aborted) giveUp()
      if (isOver()) throw fatal(OVER, `${deps.topic}/${partition} is left to its next owner`)
      const waitMs = backoffMs(deps.retry, attempt++)
      busySince = clock.monotonic()
      observer.retrying({ ...describeError(error), attempt, waitMs })
      await clock.sleep(waitMs, leaving)
    }
  }

  async function untilDone<R>(work: () => Promise<R>): Promise<R> {
    const again = createAgain()
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (fateOf(error) !== 'retry') throw error
        await again(error)
      }
    }
  }

  /** Puts records of the oldest batch into the chunk. True when the chunk has to be closed. */
  async function fill(open: OpenChunk, batch: ColumnBatch): Promise<boolean> {
    if (!prepared) {
      await untilDone(() => reader.prepare(valuesOf(batch)))
      prepared = true
    }
    for (; next < batch.length; next++) {
      const now = clock.monotonic()
      const offset = batch.offset(next)
      if (takenOver && announced !== null && offset >= announced.b) {
        open.skipTo(announced.b)
        return true
      }
      if (letters?.ended(offset)) {
        open.addEnded(batch, next, now)
        continue
      }
      const result = decode(batch, next)
      if (result === 'pending') {
        if (open.records > 0 && !takenOver) return true
        observer.deferred({
          partition,
          offset,
          code: 'unknown_schema',
          message: 'the registry does not know the schema',
        })
        prepared = false
        if (finishing.signal.aborted) giveUp()
        else await clock.sleep(backoffMs(deps.retry, 2), leaving)
        return false
      }
      if (result.kind === 'skip') open.addEnded(batch, next, now)
      else if (result.kind === 'row') {
        if (!open.addRow(batch, next, result.row, now)) return true
      } else if (letters !== null) open.addRejected(batch, next, result.rejection, now)
      else if (open.records > 0) return true
      else await stopAt(offset, result.rejection)
      if (isOver()) return false
      if (open.isFull()) {
        next += 1
        break
      }
    }
    if (next === batch.length) {
      queue.shift()
      next = 0
      prepared = false
    }
    return open.isFull()
  }

  function decode(batch: ColumnBatch, index: number): EncodedResult | 'pending' {
    const decoded = reader.decode(batch.value(index))
    if (decoded.ok) return deps.encode(decoded.record, batch, index)
    if (decoded.pending) return 'pending'
    return { kind: 'rejection', rejection: unstored(decoded.reason, decoded.message, { origin: null }) }
  }

  /** Null when there is nothing more to do. */
  async function collect(): Promise<Chunk | null> {
    const open = openChunk(limits, takenOver && announced !== null ? announced.b : null)
    for (;;) {
      if (isOver()) return null
      const batch = queue[0]
      if (batch !== undefined) {
        if (!(await fill(open, batch))) continue
        if (isOver()) return null
        if (open.isFull()) deps.pace.pass(clock.monotonic())
        return open.close(position)
      }
      if (open.records === 0 || takenOver) {
        busySince = null
        if (finishing.signal.aborted) return null
        await rest(null)
        continue
      }
      const now = clock.monotonic()
      const youngMs = (open.since ?? now) + limits.lingerMs - now
      const waitMs = hurrying || open.rows === 0 ? 0 : deps.pace.waitMs(now)
      if (hurrying || finishing.signal.aborted || (youngMs <= 0 && waitMs === 0)) return open.close(position)
      await rest(Math.max(youngMs, waitMs))
    }
  }

  /** Brings a chunk to its end: every record of it is stored, or has a dead letter. */
  async function land(chunk: Chunk): Promise<void> {
    const startedAt = clock.monotonic()
    busySince = startedAt
    const again = createAgain()
    let landed: Landed = { refused: new Map(), stored: new Map() }
    if (chunk.lines.length > 0 || takenOver) {
      if (!takenOver) {
        const { a, b, lines } = chunk
        await announce({ a, b, rows: lines.length, hash: chunkHash(lines), attempt: 0 })
      }
      const landing = { store: deps.store, generation: source.generation, partition, owned, announce, again }
      landed = await landChunk(chunk, announced as Pend, takenOver, landing)
    }
    const rejected = rejectedOf(chunk, landed)
    if (rejected.length > 0) await writeLetters(chunk, rejected)
    position = chunk.b
    mark = letters?.mark() ?? mark
    announced = null
    takenOver = false
    uncommitted = true
    while (out[0] !== undefined && isBelow(out[0], position)) source.settle(out.shift() as ColumnBatch)
    report(chunk, landed, rejected, clock.monotonic() - startedAt)
    busySince = null
  }

  async function writeLetters(chunk: Chunk, rejected: readonly RejectedRecord[]): Promise<void> {
    if (letters === null) {
      const { batch, index, rejection } = rejected[0] as RejectedRecord
      return await stopAt(batch.offset(index), rejection)
    }
    let attempts = 1
    const unended = (): readonly RejectedRecord[] =>
      rejected.filter(({ batch, index }) => attempts === 1 || !letters.ended(batch.offset(index)))
    await untilDone(async () => {
      if (attempts > 1) await letters.claimAgain(chunk.a)
      await owned()
      const todo = unended()
      attempts += 1
      await letters.write(todo, attempts - 1, chunk.b)
    })
  }

  /** Ends this lane's work for good, and leaves the partition where it is. */
  async function stop(offset: number, code: string, message: string): Promise<never> {
    stopped = true
    busySince = null
    observer.stopped({ partition, offset, code, message: `${where(offset)}: ${message}` })
    while (!leaving.aborted) await rest(null)
    giveUp()
    throw fatal(OVER, `${where(offset)} is left to its next owner`)
  }

  /** A record that may not become a dead letter: everything before it has ended. */
  async function stopAt(offset: number, { reason, message }: Rejection): Promise<never> {
    if (announced === null) await source.commit(partition, position, encodeMetadata({ pend: null, mark }))
    return await stop(offset, FOREIGN.has(reason) ? 'foreign_record' : 'dead_letter_unstorable', message)
  }

  function report(chunk: Chunk, landed: Landed, rejected: readonly RejectedRecord[], busyMs: number): void {
    const rejectedByReason = new Map<string, number>()
    for (const { rejection } of rejected) {
      rejectedByReason.set(rejection.reason, (rejectedByReason.get(rejection.reason) ?? 0) + 1)
    }
    observer.landed({
      table: deps.store.table,
      rows: chunk.lines.length - landed.refused.size,
      refused: landed.refused.size,
      copies: [...landed.stored.values()].reduce((sum, count) => sum + count - 1, 0),
      latenciesMs: chunk.latenciesMs,
      busyMs,
    })
    observer.settled({
      recordsIn: chunk.records,
      recordsOut: chunk.records - rejected.length,
      rejectedByReason,
      batches: 1,
      deferredLanes: 0,
      largestBatch: chunk.records,
      busyMs,
    })
  }

  async function run(): Promise<void> {
    try {
      if (start.metadata instanceof MillraceError) await stop(position, start.metadata.code, start.metadata.message)
      for (let chunk = await collect(); chunk !== null; chunk = await collect()) await land(chunk)
      if (isOver()) return
      if (uncommitted) await source.commit(partition, position, encodeMetadata({ pend: null, mark }))
      giveUp()
    } catch (error) {
      if (!isOver()) throw error
    } finally {
      busySince = null
    }
  }

  const ended = run()
  // whoever owns the lane awaits it; a failure before that must not count as unhandled
  ended.catch(() => {})
  return {
    partition,
    ended,
    add(batch) {
      out.push(batch)
      // what was on its way here while the lane ended goes back unfinished
      if (isOver()) return giveUp()
      hurrying = false
      queue.push(batch)
      nap?.abort()
    },
    hurry() {
      hurrying = true
      nap?.abort()
    },
    finish() {
      hurrying = true
      finishing.abort()
      nap?.abort()
    },
    async end() {
      over.abort()
      nap?.abort()
      await letters?.close()
    },
    metadata(offset) {
      if (isOver() || stopped || announced !== null || offset < position) return null
      // markers and gaps are passed, too
      position = offset
      uncommitted = false
      return encodeMetadata({ pend: null, mark })
    },
    workingForMs: () => (busySince === null ? 0 : clock.monotonic() - busySince),
  }
}

/** What the decoder or the store gave up, in the order of the log; not what is there from an earlier attempt. */
function rejectedOf(chunk: Chunk, { refused, stored }: Landed): readonly RejectedRecord[] {
  const rejected = chunk.rejected.filter(({ batch, index }) => !stored.has(batch.offset(index)))
  for (const [row, message] of refused) {
    const { batch, index, origin } = chunk.sources[row] as Chunk['sources'][number]
    rejected.push({ batch, index, rejection: unstored('unstorable', message, origin) })
  }
  return rejected.sort((a, b) => a.batch.offset(a.index) - b.batch.offset(b.index))
}

function isBelow(batch: ColumnBatch, offset: number): boolean {
  return batch.offset(batch.length - 1) < offset
}

function* valuesOf(batch: ColumnBatch): Iterable<Buffer | null> {
  for (let index = 0; index < batch.length; index++) yield batch.value(index)
}
