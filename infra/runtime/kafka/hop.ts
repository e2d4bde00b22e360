import { type Backoff, backoffMs } from '../backoff.ts'
import type { Clock } from '../clock.ts'
import { describeError, fateOf } from '../errors.ts'
import type { BatchSource, TakeLimits } from './batch-source.ts'
import { type DeadLetterEncoding, encodeDeadLetter } from './dead-letters.ts'
import { type BatchHandler, openOutcome, type SealedOutcome } from './outcome.ts'
import { rejectOversized, roundsBySize } from './outgoing-size.ts'
import type { RecordBatch } from './record-batch.ts'
import type { OutgoingBatch, OutgoingRecord, RecordWriter } from './record-writer.ts'

/**
 * One hop of a pipeline: takes batches from a source, lets the handler decide the fate of every record, writes dead
 * letters, then outputs, then lets the source commit. In that order, so that a crash at any point repeats work and
 * loses none. A record keeps its partition number in every topic that it is written to.
 */
export interface HopOptions {
  readonly source: BatchSource
  readonly writer: RecordWriter
  readonly handler: BatchHandler
  /** Topic of each named output. */
  readonly outputs: Readonly<Record<string, string>>
  readonly deadLetters: DeadLetterEncoding & { readonly topic: string }
  readonly limits: TakeLimits
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: HopObserver
}

/** Called once per round; must not throw. */
export interface HopObserver {
  settled(round: SettledRound): void
  /** The whole round is tried again after `waitMs`. */
  retrying(round: {
    readonly code: string
    readonly message: string
    readonly attempt: number
    readonly waitMs: number
  }): void
  /** The records of a lane from `offset` on wait. */
  deferred(lane: {
    readonly partition: number
    readonly offset: number
    readonly code: string
    readonly message: string
  }): void
}

export interface SettledRound {
  readonly recordsIn: number
  readonly recordsOut: number
  readonly rejectedByReason: ReadonlyMap<string, number>
  readonly batches: number
  readonly deferredLanes: number
  readonly largestBatch: number
  readonly busyMs: number
}

export interface Hop {
  /** Resolves when the hop has ended after `stop`; rejects with what it did not understand. */
  readonly ended: Promise<void>
  /** Time since the round in progress began or was last tried; 0 while it waits for records. What liveness looks at. */
  workingForMs(): number
  /** Ends the intake, lets the round in progress finish, or gives it up when it is waiting to be tried again. */
  stop(): Promise<void>
}

export function startHop(options: HopOptions): Hop {
  const { source, clock } = options
  const stopping = new AbortController()
  let turn = clock.monotonic()
  let waiting = false

  async function loop(): Promise<void> {
    for (;;) {
      waiting = true
      const batches = await source.take(options.limits)
      waiting = false
      turn = clock.monotonic()
      if (batches.length === 0) return
      const settled = await settleWithRetries(options, batches, stopping.signal, () => {
        turn = clock.monotonic()
      })
      if (!settled) return
    }
  }

  const ended = loop()
  // the owner awaits `ended` or `stop`; a failure before that must not count as unhandled
  ended.catch(() => {})
  return {
    ended,
    workingForMs: () => (waiting ? 0 : clock.monotonic() - turn),
    async stop() {
      source.endIntake()
      stopping.abort()
      await ended
    },
  }
}

/** False when the hop was stopped while it waited for another try: nothing of the round was settled then. */
async function settleWithRetries(
  options: HopOptions,
  batches: readonly RecordBatch[],
  stopping: AbortSignal,
  onTurn: () => void,
): Promise<boolean> {
  const { clock, source, observer } = options
  for (let attempt = 1; ; attempt++) {
    try {
      const round = await handleOnce(options, batches, attempt)
      settle(options, round)
      return true
    } catch (error) {
      if (fateOf(error) !== 'retry') throw error
      const waitMs = backoffMs(options.retry, attempt - 1)
      observer.retrying({ ...describeError(error), attempt, waitMs })
      await clock.sleep(waitMs, stopping)
    }
    onTurn()
    if (stopping.aborted) return false
    if (batches.every((batch) => !source.owns(batch))) return true
  }
}

interface Round {
  readonly outcomes: readonly SealedOutcome[]
  readonly startedAt: number
}

async function handleOnce(options: HopOptions, batches: readonly RecordBatch[], attempt: number): Promise<Round> {
  const startedAt = options.clock.monotonic()
  const outputs = Object.keys(options.outputs)
  const open = batches.map((batch) => openOutcome(batch, outputs))
  await options.handler.handle(open)
  const outcomes = open.map((outcome) => rejectOversized(outcome.seal()))

  const kept = outcomes.filter(({ batch }) => options.source.owns(batch))
  for (const round of roundsBySize(deadLetterBatches(options.deadLetters, kept, attempt)))
    await options.writer.write(round)
  for (const round of roundsBySize(outputBatches(options.outputs, kept))) await options.writer.write(round)
  return { outcomes: kept, startedAt }
}

function settle(options: HopOptions, round: Round): void {
  const { source, observer, clock, retry } = options
  observer.settled(summarise(round, clock))
  for (const { batch, settled, deferral } of round.outcomes) {
    // a lane that waits is held back for a while, so that it does not spin; the others flow on
    source.settle(batch, settled, deferral === null ? 0 : backoffMs(retry, 2))
    if (deferral === null) continue
    observer.deferred({ partition: batch.partition, offset: batch.offset(deferral.index), ...deferral })
  }
}

function deadLetterBatches(
  deadLetters: HopOptions['deadLetters'],
  outcomes: readonly SealedOutcome[],
  attempts: number,
): readonly OutgoingBatch[] {
  return outcomes.map(({ batch, rejections }) => ({
    topic: deadLetters.topic,
    partition: batch.partition,
    records: rejections.map(([index, rejection]) => encodeDeadLetter(deadLetters, batch, index, rejection, attempts)),
  }))
}

function outputBatches(
  topics: Readonly<Record<string, string>>,
  outcomes: readonly SealedOutcome[],
): readonly OutgoingBatch[] {
  return outcomes.flatMap(({ batch, emissions }) =>
    [...emissions].map(([output, list]) => ({
      topic: topics[output] ?? output,
      partition: batch.partition,
      records: list.map(({ key, value }): OutgoingRecord => ({ key, value })),
    })),
  )
}

function summarise(round: Round, clock: Clock): SettledRound {
  const rejectedByReason = new Map<string, number>()
  let recordsIn = 0
  let largestBatch = 0
  let rejected = 0
  for (const { settled, rejections } of round.outcomes) {
    recordsIn += settled
    rejected += rejections.length
    largestBatch = Math.max(largestBatch, settled)
    for (const [, { reason }] of rejections) rejectedByReason.set(reason, (rejectedByReason.get(reason) ?? 0) + 1)
  }
  return {
    recordsIn,
    recordsOut: recordsIn - rejected,
    rejectedByReason,
    batches: round.outcomes.length,
    deferredLanes: round.outcomes.filter(({ deferral }) => deferral !== null).length,
    largestBatch,
    busyMs: clock.monotonic() - round.startedAt,
  }
}
