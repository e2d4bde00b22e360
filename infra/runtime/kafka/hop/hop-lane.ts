import type { ColumnBatch } from '../consumer/column-batch.ts'
import type { LaneWriter } from '../exactly-once/lane-writer.ts'
import type { SealedOutcome } from '../outcome.ts'
import type { OutgoingPart } from './outgoing.ts'

/**
 * One claim of one partition: puts what handlers decide, in whatever order they finish, back into the order of the input,
 * and writes it. Several batches are on their way at once; they end in order.
 *
 *   flowing   the oldest batches that are decided are written
 *   waiting   a record was deferred: what lies before it is written, then the lane begins again there
 *   over      a write failed, or the partition went away: nothing more is written
 */
export interface HopLane {
  readonly partition: number
  readonly writer: LaneWriter
  /** A batch was taken. Called in the order of the batches. */
  add(batch: ColumnBatch): void
  /** Without the records that have ended before the claim. */
  unended(batch: ColumnBatch): ColumnBatch
  decide(batch: ColumnBatch, decision: Decision): void
  /** Nothing more is written under this claim. */
  readonly over: boolean
  /** To be committed with the position below which everything has ended. */
  metadata(): string
  /** Nothing more is written; resolves when nothing is on its way any more. */
  end(): Promise<void>
  /** Resolves when everything that was decided is written or has failed. */
  flushed(): Promise<void>
}

/** What a handler has decided about a batch. */
export interface Decision {
  readonly outcome: SealedOutcome
  /** Called once, when the batch's turn has come to be written. */
  parts(): readonly OutgoingPart[]
  /** Called when everything that was decided is in the logs. Must not throw. */
  ended(): void
}

export interface HopLaneOptions {
  readonly partition: number
  readonly writer: LaneWriter
  /** What is true of the position that the lane begins at. */
  readonly metadata: string
  readonly unended: (batch: ColumnBatch) => ColumnBatch
  readonly events: HopLaneEvents
}

export interface HopLaneEvents {
  /** All records of the batch have ended. Must not throw. */
  settled(batch: ColumnBatch): void
  /** The records before the deferral have ended; the lane is over. */
  deferred(outcome: SealedOutcome): void
  /** The first write that failed; the lane is over. */
  failed(error: unknown): void
}

interface Round {
  readonly batch: ColumnBatch
  decision: Decision | null
}

export function createHopLane(options: HopLaneOptions): HopLane {
  const { partition, writer, unended, events } = options
  const rounds: Round[] = []
  let metadata = options.metadata
  let over = false
  let waiting = false
  let tail: Promise<void> = Promise.resolve()

  function pump(): void {
    while (!over && !waiting) {
      const decision = rounds[0]?.decision ?? null
      const batch = rounds[0]?.batch
      if (decision === null || batch === undefined) return
      rounds.shift()
      waiting = decision.outcome.deferral !== null
      // called at once, so that the writer keeps the order; awaited in order below
      const writes = decision.parts().map((part) => writer.write(part.deadLetters, part.outputs, part.upTo))
      const before = tail
      tail = Promise.all([Promise.all(writes), before]).then(
        ([marks]) => finish(batch, decision, marks.at(-1)),
        (error: unknown) => fail(error),
      )
    }
  }

  function finish(batch: ColumnBatch, decision: Decision, mark: string | undefined): void {
    if (over) return
    decision.ended()
    if (decision.outcome.deferral !== null) {
      over = true
      events.deferred(decision.outcome)
      return
    }
    // only with the position that it belongs to: a claim looks for dead letters from where the metadata points
    if (mark !== undefined) metadata = mark
    events.settled(batch)
  }

  function fail(error: unknown): void {
    if (over) return
    over = true
    events.failed(error)
  }

  return {
    partition,
    writer,
    unended,
    add: (batch) => void rounds.push({ batch, decision: null }),
    decide(batch, decision) {
      const round = rounds.find((each) => each.batch === batch)
      if (round === undefined || over) return
      round.decision = decision
      pump()
    },
    get over() {
      return over
    },
    metadata: () => metadata,
    async end() {
      over = true
      await tail
    },
    flushed: () => tail,
  }
}
