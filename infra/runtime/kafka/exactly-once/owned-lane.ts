import { killPoint } from '#kill-points'
import type { Clock } from '../../clock.ts'
import { describeError, fatal, fateOf, MillraceError, retryable } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { LogReader } from '../log-reader.ts'
import type { BatchSender } from '../producer/batch-sender.ts'
import type { SequencedPartition } from '../producer/sequenced-partition.ts'
import { type RecordColumns, sliceAt } from '../record-batches/columns.ts'
import type { OwnedPartition } from './claim-epoch.ts'
import { encodeCommitMetadata, type NotedLog } from './commit-metadata.ts'
import type { Fencing } from './fencing.ts'
import type { PlannedTail } from './lane-tail.ts'
import type { Coordinates, LaneTopics, LaneWriter } from './lane-writer.ts'
import { createPositionLedger, type PositionLedger } from './position-ledger.ts'
import type { TailDecoders } from './read-tails.ts'

export interface OwnedLog {
  readonly owned: OwnedPartition
  /** Topic id. */
  readonly generation: string
  /** Where the last commit's metadata lets a claim begin to read; kept while the tail's hold lasts. */
  readonly notedEnd: number
}

export interface OwnedLaneOptions {
  readonly lane: LaneTopics
  readonly tail: PlannedTail
  readonly last: Coordinates | null
  readonly output: OwnedLog | null
  readonly deadLetters: OwnedLog
  readonly decoders: TailDecoders
  readonly sender: BatchSender
  readonly fencing: Fencing
  readonly logReader: LogReader
  readonly clock: Clock
  readonly logger: Logger
  readonly trusted: () => boolean
  /** How often the fence is renewed, ms: a quarter of the time after which it is forgotten. */
  readonly renewEveryMs: number
  /** When the claim began, monotonic ms. */
  readonly claimedAt: number
}

interface OpenLog {
  readonly owned: OwnedPartition
  readonly generation: string
  readonly notedEnd: number
  readonly ledger: PositionLedger
  readonly partition: SequencedPartition
}

const LOOK_EVERY_MS = 60_000

/** The writer of a lane that was claimed, fenced and read. */
export function openOwnedLane(options: OwnedLaneOptions): LaneWriter {
  const { lane, tail, decoders, clock, logger } = options
  const closing = new AbortController()
  const letters = openLog(options, options.deadLetters)
  const outputs = options.output === null ? null : openLog(options, options.output)
  const logs = outputs === null ? [letters] : [letters, outputs]
  let failure: MillraceError | null = null
  let last = options.last
  /** Commits below it lead back to what had ended before the claim. */
  let heldBelow = heldAtFirst(tail, outputs !== null)
  let renewedAt = options.claimedAt
  /** Resolves when the outputs of the calls before have been handed over; null = they have. */
  let handedOver: Promise<void> | null = null
  /** Of the last call. */
  let written: Promise<void> = Promise.resolve()
  /** Resolves when the calls before have begun; null = nothing stands before the next. */
  let gate: Promise<void> | null = null

  /** The first failure ends the writer. */
  function fail(error: unknown): void {
    if (failure !== null) return
    const cause =
      error instanceof MillraceError ? error : fatal('kafka_client_failed', describeError(error).message, error)
    // the same records would be refused again
    failure = cause.fate === 'reject' ? fatal('output_refused', `${name}: ${cause.message}`, cause) : cause
    for (const { partition } of logs) partition.end(failure)
    closing.abort()
  }

  const name = `lane ${lane.partition} of ${lane.input.topic}`

  function coordinatesAt(
    records: RecordColumns,
    row: number,
    read: (value: Buffer) => Coordinates | null,
  ): Coordinates {
    const value = sliceAt(records.values, row)
    const coordinates = value === null ? null : read(value)
    if (coordinates === null) throw fatal('foreign_record', `${name}: a record to be written has no coordinates`)
    return coordinates
  }

  async function append(log: OpenLog, records: RecordColumns, upTo: number): Promise<void> {
    log.ledger.writing(upTo)
    const { baseOffset } = await log.partition.append(records)
    if (baseOffset >= 0) log.ledger.sawEnd(baseOffset + records.length)
    const read = log === letters ? decoders.deadLetterCoordinates : decoders.outputCoordinates
    if (heldBelow > upTo && tail.hold?.isPassedBy(coordinatesAt(records, records.length - 1, read))) heldBelow = upTo
  }

  async function appendLetters(records: RecordColumns, upTo: number): Promise<void> {
    killPoint('before-produce-dead-letters')
    await append(letters, records, upTo)
    killPoint('after-produce-dead-letters')
  }

  async function appendOutputs(records: RecordColumns, upTo: number): Promise<void> {
    if (outputs === null) throw fatal('no_output', `${name} writes dead letters alone`)
    const first = coordinatesAt(records, 0, decoders.outputCoordinates)
    if (last !== null && !isAfter(first, last)) {
      throw fatal('lane_out_of_order', `${name}: origin ${first.originOffset} after ${last.originOffset}`)
    }
    last = coordinatesAt(records, records.length - 1, decoders.outputCoordinates)
    killPoint('before-produce-outputs')
    await append(outputs, records, upTo)
    killPoint('after-produce-outputs')
  }

  /** Outputs go out once their dead letters, and those of the calls before, are acknowledged. */
  async function begin(deadLetters: RecordColumns | null, records: RecordColumns | null, upTo: number): Promise<void> {
    const before = handedOver
    if (deadLetters === null && before === null) {
      if (records !== null) await appendOutputs(records, upTo)
      return
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    handedOver = promise
    let sent: Promise<void> | null = null
    try {
      if (deadLetters !== null) await appendLetters(deadLetters, upTo)
      await before
      if (failure !== null) throw failure
      if (records !== null) sent = appendOutputs(records, upTo)
    } finally {
      resolve()
      if (handedOver === promise) handedOver = null
    }
    await sent
  }

  /** The broker may have forgotten this writer: then it takes any sequence, and any epoch. */
  async function renewBeforeWriting(): Promise<void> {
    await renew()
    for (const { partition } of logs) partition.alone()
  }

  async function renew(): Promise<void> {
    const at = clock.monotonic()
    await Promise.all(logs.map(({ owned }) => options.fencing.renew(owned, owned.producer, closing.signal)))
    renewedAt = at
  }

  /** One after another, behind the gate. */
  function queue(work: () => Promise<void>): Promise<void> {
    const started = (gate ?? renewBeforeWriting()).then(() => ({ done: work() }))
    const next = started.then(
      () => {},
      () => {},
    )
    gate = next
    void next.then(() => {
      if (gate === next) gate = null
    })
    return started.then(({ done }) => done)
  }

  function write(deadLetters: RecordColumns | null, records: RecordColumns | null, upTo: number): Promise<string> {
    if (failure !== null) return Promise.reject(failure)
    const isOld = clock.monotonic() - renewedAt > 2 * options.renewEveryMs
    const work = (): Promise<void> => begin(filled(deadLetters), filled(records), upTo)
    const done = gate !== null || isOld ? queue(work) : work()
    done.catch(fail)
    written = inTurn(done, written)
    // whoever called hears of it
    written.catch(() => {})
    return written.then(() => metadataAt(upTo))
  }

  async function inTurn(done: Promise<void>, before: Promise<void>): Promise<void> {
    const [own, earlier] = await Promise.allSettled([done, before])
    if (own.status === 'rejected') throw own.reason
    if (earlier.status === 'rejected') throw failure ?? earlier.reason
  }

  function metadataAt(offset: number): string {
    const noted = ({ owned, generation, ledger }: OpenLog, held: number): NotedLog => ({
      topic: owned.topic,
      generation,
      end: Math.min(held, ledger.position(offset)),
    })
    const isHeld = offset < heldBelow
    return encodeCommitMetadata({
      input: lane.input.generation,
      output: outputs === null ? null : noted(outputs, isHeld ? outputs.notedEnd : Number.POSITIVE_INFINITY),
      deadLetters: noted(letters, (isHeld ? tail.hold?.deadLetterOffset : null) ?? Number.POSITIVE_INFINITY),
      skips: lane.alsoFence ?? [],
    })
  }

  /** Renews the fence in time, and looks where the logs end, so that a later claim need not read far. */
  async function keep(): Promise<void> {
    const { signal } = closing
    while (!signal.aborted) {
      await clock.sleep(Math.min(LOOK_EVERY_MS, options.renewEveryMs), signal)
      if (signal.aborted) return
      try {
        if (clock.monotonic() - renewedAt >= options.renewEveryMs) await renew()
        await Promise.all(logs.map(look))
      } catch (error) {
        const { code, message } = describeError(error)
        if (signal.aborted) return
        if (code === 'lane_fenced' || fateOf(error) !== 'retry') fail(error)
        else
          logger.warn(
            { code, message, partition: lane.partition },
            'the fence of a lane could not be renewed, trying again',
          )
      }
    }
  }

  async function look({ owned, ledger }: OpenLog): Promise<void> {
    ledger.sawEnd((await options.logReader.range(owned.topic, owned.partition)).end)
  }

  void keep()

  return {
    tail,
    write,
    bytesInFlight: () => logs.reduce((sum, { partition }) => sum + partition.bytesInFlight, 0),
    metadata: () => metadataAt(tail.resumeAt),
    async close() {
      await Promise.allSettled([written])
      fail(retryable('lane_closed', `${name} was closed`))
    },
  }
}

function openLog({ sender, trusted }: OwnedLaneOptions, { owned, generation, notedEnd }: OwnedLog): OpenLog {
  const { topic, partition, producer, marker } = owned
  const logEnd = marker + 1
  return {
    owned,
    generation,
    notedEnd,
    ledger: createPositionLedger(logEnd),
    partition: sender.open({ topic, partition, producer, generation, logEnd, trusted }),
  }
}

/** Without outputs the hold is nothing but dead letters of records below an offset that is known. */
function heldAtFirst({ hold, askBelow }: PlannedTail, hasOutput: boolean): number {
  if (hold === null) return 0
  return hasOutput || askBelow === null ? Number.POSITIVE_INFINITY : askBelow.source
}

function filled(records: RecordColumns | null): RecordColumns | null {
  return records === null || records.length === 0 ? null : records
}

/** Outputs of one event stand in one batch; so the next batch begins with a later event. */
function isAfter(next: Coordinates, last: Coordinates): boolean {
  return next.originGeneration !== last.originGeneration || next.originOffset > last.originOffset
}
