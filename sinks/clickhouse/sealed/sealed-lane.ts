import { type Backoff, backoffMs } from '../../../infra/runtime/backoff.ts'
import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError, fatal, fateOf, retryable } from '../../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneSource } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import type { LostRange } from '../../../infra/runtime/kafka/consumer/start-position.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import type { SpareMemory } from '../../../infra/runtime/spare-memory.ts'
import type { NativeTable } from '../native/native-rows.ts'
import { type Chunk, type ChunkLimits, openChunk, pendOf, type RejectedRecord } from './chunk.ts'
import type { InsertPace } from './insert-pace.ts'
import { type Landed, landChunk } from './land-chunk.ts'
import type { LaneLetters } from './lane-letters.ts'
import { encodeMetadata, type Pend, type SealedMetadata } from './pend.ts'
import type { RecordQueue } from './record-queue.ts'
import { isForeign, rejectedOf, roundOf } from './report.ts'
import type { SealedSinkObserver } from './sealed-observer.ts'
import type { SealedStore } from './sealed-store.ts'

export interface SealedLaneDeps {
  readonly topic: string
  readonly source: Pick<LaneSource, 'generation' | 'settle' | 'rewind' | 'reach' | 'commit' | 'confirm' | 'trusted'>
  readonly store: SealedStore
  readonly limits: ChunkLimits
  readonly pace: InsertPace
  /** Of chunks. */
  readonly memory: SpareMemory
  /** Null = rows go as text. */
  readonly native: NativeTable | null
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
  /**
   * The partition moves: what can be finished now is. What waits, for a dependency or for the rest of an announced chunk, goes back to
   * the source, and is begun anew when the partition stays after all.
   */
  drain(): void
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
const ASIDE = 'lane_set_aside'

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
  const { readBackBelow } = start.metadata
  let mark = letters?.mark() ?? start.metadata.mark
  let stopped = false
  /** Since the last commit without an announcement. */
  let uncommitted = false
  let hurrying = false
  let draining = new AbortController()
  /** The last letter of lost records may be in the log or not. */
  let isLetterDoubtful = false
  let busySince: number | null = null
  let nap: AbortController | null = null

  const where = (offset: number): string => `${deps.topic}/${partition} offset ${offset}`
  const isOver = (): boolean => over.signal.aborted
  const gone = () => fatal(OVER, `${deps.topic}/${partition} is left to its next owner`)
  const aside = () => fatal(ASIDE, `${deps.topic}/${partition} moves`)
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

  /** What is out is handed out again; what is announced stays so. */
  function setAside(): void {
    const isOut = out.splice(0).length > 0
    queue.clear()
    stopped = false
    busySince = null
    takenOver = announced !== null
    if (isOut) source.rewind(partition, position, 0)
    if (announced !== null) source.reach(partition, announced.b)
  }

  /** Time that goes by until Kafka answers is no work of ours. */
  async function untilAnswered<T>(answer: Promise<T>): Promise<T> {
    const wasBusy = busySince !== null
    busySince = null
    try {
      return await answer
    } finally {
      if (wasBusy) busySince = clock.monotonic()
    }
  }

  /** Before each request that writes. */
  async function owned(): Promise<void> {
    busySince = clock.monotonic()
    for (;;) {
      if (isOver()) throw gone()
      const ours = await untilAnswered(source.confirm(partition))
      if (!ours) over.abort()
      else if (source.trusted()) return
    }
  }

  function metadataAt(offset: number, pend: Pend | null): string {
    return encodeMetadata({ pend, mark, readBackBelow: offset < readBackBelow ? readBackBelow : 0 })
  }

  async function commit(offset: number, pend: Pend | null): Promise<void> {
    const ours = await untilAnswered(source.commit(partition, offset, metadataAt(offset, pend)))
    if (!ours) over.abort()
    if (isOver()) throw gone()
  }

  async function announce(pend: Pend): Promise<void> {
    announced = pend
    await commit(pend.a, pend)
  }

  async function sleep(ms: number): Promise<void> {
    await clock.sleep(ms, AbortSignal.any([leaving, draining.signal]))
    if (draining.signal.aborted && !leaving.aborted) throw aside()
  }

  function createAgain(): (error: unknown) => Promise<void> {
    let attempt = 0
    return async (error) => {
      if (finishing.signal.aborted) giveUp()
      if (isOver()) throw gone()
      if (draining.signal.aborted) throw aside()
      const waitMs = backoffMs(deps.retry, attempt++)
      busySince = clock.monotonic()
      observer.retrying({ partition, ...describeError(error), attempt, waitMs })
      await sleep(waitMs)
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
    const open = openChunk(limits, until, deps.memory, deps.native?.begin())
    for (;;) {
      if (isOver()) return null
      if (!queue.isEmpty()) {
        await untilDone(() => queue.prepare())
        if (isOver()) return null
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
        if (draining.signal.aborted && open.records > 0) throw aside()
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
    else await sleep(backoffMs(deps.retry, 2))
  }

  /** Brings a chunk to its end: every record of it is stored, or has a dead letter. */
  async function land(chunk: Chunk): Promise<void> {
    const startedAt = clock.monotonic()
    busySince = startedAt
    let landed: Landed = { refused: new Map(), stored: new Map(), atOnce: true }
    if (chunk.rows > 0 || takenOver) {
      if (!takenOver) await announce(pendOf(chunk))
      landed = await landChunk(chunk, announced as Pend, takenOver || chunk.a < readBackBelow, {
        store: deps.store,
        generation: source.generation,
        partition,
        owned,
        announce,
        again: createAgain(),
      })
    }
    const rejected = rejectedOf(chunk, landed, queue.originOf)
    if (rejected.length > 0) await writeLetters(chunk, rejected)
    await letters?.passed(chunk.b)
    if (landed.atOnce && chunk.rows > 0) deps.memory.give(chunk.memory)
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
    const code = isForeign(reason) ? 'foreign_record' : 'dead_letter_unstorable'
    const command = deps.repairCommand(partition, offset + 1)
    observer.stopped({ partition, code, message: `${where(offset)}: ${message}. To leave it out: ${command}` })
    while (!leaving.aborted) {
      if (draining.signal.aborted) throw aside()
      await rest(null)
    }
    giveUp()
    throw gone()
  }

  /** False when there is nothing more to do. */
  async function landNext(): Promise<boolean> {
    try {
      const chunk = await collect()
      if (chunk === null) return false
      await land(chunk)
    } catch (error) {
      if (describeError(error).code !== ASIDE || isOver()) throw error
      setAside()
    }
    return true
  }

  async function run(): Promise<void> {
    try {
      while (await landNext());
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
      if (draining.signal.aborted) draining = new AbortController()
      queue.add(batch)
      nap?.abort()
    },
    hurry,
    drain() {
      draining.abort()
      hurry()
    },
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
      return metadataAt(offset, null)
    },
    async skipLost(range) {
      const flushed = new Promise<void>((resolve) => void idle.push(resolve))
      hurry()
      await flushed
      const lost = () => retryable('lane_lost', `${deps.topic}/${partition} is not ours any more`)
      if (isOver()) throw lost()
      if (letters === null) return
      if (!(await source.confirm(partition))) throw lost()
      if (isLetterDoubtful) await letters.claimAgain(range.from)
      if (letters.ended(range.from)) return
      isLetterDoubtful = true
      await letters.writeLost(range)
      isLetterDoubtful = false
    },
    workingForMs: () => (busySince === null ? 0 : clock.monotonic() - busySince),
  }
}

function isBelow(batch: ColumnBatch, offset: number): boolean {
  return batch.offset(batch.length - 1) < offset
}
