import { type Backoff, backoffMs } from '../../../infra/runtime/backoff.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError, fatal, fateOf, retryable } from '../../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneSource } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import type { LostRange } from '../../../infra/runtime/kafka/consumer/start-position.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import { type Chunk, type ChunkLimits, chunkHash, openChunk, type RejectedRecord } from './chunk.ts'
import type { InsertPace } from './insert-pace.ts'
import { type Landed, landChunk } from './land-chunk.ts'
import type { LaneLetters } from './lane-letters.ts'
import { encodeMetadata, type Pend, type SealedMetadata } from './pend.ts'
import type { RecordQueue } from './record-queue.ts'
import { rejectedOf, roundOf } from './report.ts'
import type { SealedSinkObserver } from './sealed-observer.ts'
import type { SealedStore } from './sealed-store.ts'

export interface SealedLaneDeps {
  readonly topic: string
  readonly source: Pick<LaneSource, 'generation' | 'settle' | 'commit' | 'confirm' | 'trusted'>
  readonly store: SealedStore
  readonly limits: ChunkLimits
  readonly pace: InsertPace
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: SealedSinkObserver
  /** How an operator lets a partition go on at an offset. */
  readonly repairCommand: (partition: number, to: number) => string
}

export interface LaneStart {
  readonly partition: number
  /** Where the partition stands. */
  readonly position: number
  /** As the last owner left it. */
  readonly metadata: SealedMetadata
  readonly queue: RecordQueue
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
  /** Accounts for records that are not in the log any more, once everything before has ended. Rejects with `retry`: call it again. */
  skipLost(range: LostRange): Promise<void>
  /** 0 while it waits for records. */
  workingForMs(): number
}

const OVER = 'lane_over'
/** What no stage of Millrace would write. */
const FOREIGN = new Set(['not_avro', 'undecodable', 'unknown_schema', 'incompatible_schema'])

export function startSealedLane(deps: SealedLaneDeps, start: LaneStart): SealedLane {
  const { source, clock, observer, limits } = deps
  const { partition, letters, queue } = start
  const over = new AbortController()
  const finishing = new AbortController()
  const leaving = AbortSignal.any([finishing.signal, over.signal])
  /** All batches that are not settled, in their order. */
  const out: ColumnBatch[] = []
  const idle: (() => void)[] = []
  let position = start.position
  let announced: Pend | null = start.metadata.pend
  let takenOver = announced !== null
  let mark = letters?.mark() ?? start.metadata.mark
  let stopped = false
  /** Since the last commit without an announcement. */
  let uncommitted = false
  let hurrying = false
  let busySince: number | null = null
  let nap: AbortController | null = null

  const where = (offset: number): string => `${deps.topic}/${partition} offset ${offset}`
  const isOver = (): boolean => over.signal.aborted
  const gone = () => fatal(OVER, `${deps.topic}/${partition} is left to its next owner`)

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

  /** Before each request that writes. */
  async function owned(): Promise<void> {
    busySince = clock.monotonic()
    for (;;) {
      if (isOver()) throw gone()
      const ours = await source.confirm(partition)
      if (!ours) over.abort()
      else if (source.trusted()) return
    }
  }

  async function commit(offset: number, pend: Pend | null): Promise<void> {
    const ours = await source.commit(partition, offset, encodeMetadata({ pend, mark }))
    if (!ours) over.abort()
    if (isOver()) throw gone()
  }

  async function announce(pend: Pend): Promise<void> {
    announced = pend
    await commit(pend.a, pend)
  }

  function createAgain(): (error: unknown) => Promise<void> {
    let attempt = 0
    return async (error) => {
      if (finishing.signal.aborted) giveUp()
      if (isOver()) throw gone()
      const waitMs = backoffMs(deps.retry, attempt++)
      busySince = clock.monotonic()
      observer.retrying({ partition, ...describeError(error), attempt, waitMs })
      await clock.sleep(waitMs, leaving)
    }
  }

  async function untilDone(work: () => Promise<void>): Promise<void> {
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

  /** Null when there is nothing more to do. */
  async function collect(): Promise<Chunk | null> {
    const until = takenOver && announced !== null ? announced.b : null
    const open = openChunk(limits, until)
    for (;;) {
      if (isOver()) return null
      if (!queue.isEmpty()) {
        await untilDone(() => queue.prepare())
        const filled = queue.fill(open, until, clock.monotonic())
        if (filled.step === 'pending') await waitForSchema(filled.offset)
        else if (filled.step === 'barred') await stopAt(filled.offset, filled.rejection)
        else if (filled.step === 'close') {
          if (open.isFull()) deps.pace.pass(clock.monotonic())
          return open.close(position)
        }
        continue
      }
      if (open.records === 0 || until !== null) {
        busySince = null
        for (const resolve of idle.splice(0)) resolve()
        if (finishing.signal.aborted) return null
        await rest(null)
        continue
      }
      const now = clock.monotonic()
      const isHurried = hurrying || finishing.signal.aborted
      const youngMs = isHurried ? 0 : (open.since ?? now) + limits.lingerMs - now
      const waitMs = isHurried || open.rows === 0 || youngMs > 0 ? 0 : deps.pace.waitMs(now)
      if (youngMs <= 0 && waitMs <= 0) return open.close(position)
      await rest(Math.ceil(Math.max(youngMs, waitMs)))
    }
  }

  async function waitForSchema(offset: number): Promise<void> {
    observer.deferred({ partition, offset, code: 'unknown_schema', message: 'the registry does not know its schema' })
    if (finishing.signal.aborted) giveUp()
    else await clock.sleep(backoffMs(deps.retry, 2), leaving)
  }

  /** Brings a chunk to its end: every record of it is stored, or has a dead letter. */
  async function land(chunk: Chunk): Promise<void> {
    const startedAt = clock.monotonic()
    busySince = startedAt
    let landed: Landed = { refused: new Map(), stored: new Map() }
    if (chunk.lines.length > 0 || takenOver) {
      const { a, b, lines } = chunk
      if (!takenOver) await announce({ a, b, rows: lines.length, hash: chunkHash(lines), attempt: 0 })
      landed = await landChunk(chunk, announced as Pend, takenOver, {
        store: deps.store,
        generation: source.generation,
        partition,
        owned,
        announce,
        again: createAgain(),
      })
    }
    const rejected = rejectedOf(chunk, landed)
    if (rejected.length > 0) await writeLetters(chunk, rejected)
    position = chunk.b
    mark = letters?.mark() ?? mark
    announced = null
    takenOver = false
    uncommitted = true
    while (out[0] !== undefined && isBelow(out[0], position)) source.settle(out.shift() as ColumnBatch)
    busySince = null
    const { settled, news } = roundOf(partition, chunk, landed, rejected, clock.monotonic() - startedAt)
    observer.landed({ ...news, table: deps.store.table })
    observer.settled(settled)
  }

  async function writeLetters(chunk: Chunk, rejected: readonly RejectedRecord[]): Promise<void> {
    if (letters === null) {
      const { batch, index, rejection } = rejected[0] as RejectedRecord
      return await stopAt(batch.offset(index), rejection)
    }
    let todo = rejected
    let attempt = 0
    await untilDone(async () => {
      attempt += 1
      await owned()
      if (attempt > 1) {
        await letters.claimAgain(chunk.a)
        todo = rejected.filter(({ batch, index }) => !letters.ended(batch.offset(index)))
      }
      await letters.write(todo, attempt, chunk.b)
    })
  }

  /** A record that may not become a dead letter. Everything before it has ended; the partition stays where it is. */
  async function stopAt(offset: number, { reason, message }: Rejection): Promise<never> {
    stopped = true
    busySince = null
    if (announced === null) await commit(position, null)
    const code = FOREIGN.has(reason) ? 'foreign_record' : 'dead_letter_unstorable'
    const command = deps.repairCommand(partition, offset + 1)
    observer.stopped({ partition, code, message: `${where(offset)}: ${message}. To leave it out: ${command}` })
    while (!leaving.aborted) await rest(null)
    giveUp()
    throw gone()
  }

  async function run(): Promise<void> {
    try {
      for (let chunk = await collect(); chunk !== null; chunk = await collect()) await land(chunk)
      if (isOver()) return
      if (uncommitted) await commit(position, null)
      giveUp()
    } catch (error) {
      if (isOver()) return
      giveUp()
      throw error
    } finally {
      busySince = null
      for (const resolve of idle.splice(0)) resolve()
    }
  }

  function hurry(): void {
    hurrying = true
    nap?.abort()
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
      queue.add(batch)
      nap?.abort()
    },
    hurry,
    finish() {
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
    async skipLost(range) {
      const flushed = new Promise<void>((resolve) => void idle.push(resolve))
      hurry()
      await flushed
      if (isOver()) throw retryable('lane_lost', `${deps.topic}/${partition} is not ours any more`)
      if (letters === null || letters.ended(range.from)) return
      await owned()
      await letters.writeLost(range)
    },
    workingForMs: () => (busySince === null ? 0 : clock.monotonic() - busySince),
  }
}

function isBelow(batch: ColumnBatch, offset: number): boolean {
  return batch.offset(batch.length - 1) < offset
}
