import { fateOf, retryable } from '../../../infra/runtime/errors.ts'
import type { Committed } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import type { LostRange } from '../../../infra/runtime/kafka/consumer/start-position.ts'
import { type DeadLetterEncoding, encodeLostRange } from '../../../infra/runtime/kafka/dead-letters.ts'
import type { LaneClaims, LaneTopics, LaneWriter } from '../../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { OUTGOING_LIMITS, outgoing } from '../../../infra/runtime/kafka/hop/outgoing.ts'
import type { Rejection, SealedOutcome } from '../../../infra/runtime/kafka/outcome.ts'
import { slicesOf } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import type { RejectedRecord } from './chunk.ts'

export interface LetterTopics {
  readonly input: LaneTopics['input']
  readonly deadLetters: DeadLetterEncoding & { readonly topic: string }
  readonly claims: LaneClaims
}

/** The dead letters of one partition, each written once under a claim that fences earlier owners. */
export interface LaneLetters {
  /** What is committed with the partition's position, so that a later claim finds every letter above it. */
  mark(): string
  /** Where to go on reading. */
  readonly resumeAt: number
  /** Whether an earlier owner has written a letter of the record at this offset. */
  ended(offset: number): boolean
  /**
   * Writes a letter for each record, in their order; `upTo` = the offset below which everything has ended then. Rejects with `retry`
   * when what was written is not known: `claimAgain`, then call it again for those that have not `ended`.
   */
  write(rejected: readonly RejectedRecord[], attempts: number, upTo: number): Promise<void>
  /** The letter that stands for records which retention took. */
  writeLost(range: LostRange): Promise<void>
  /** Everything below `upTo` has ended: a later claim need not read what was written of it. Never rejects; whoever writes next hears of it. */
  passed(upTo: number): Promise<void>
  claimAgain(position: number): Promise<void>
  close(): Promise<void>
}

export interface LaneOwnership {
  readonly partition: number
  readonly signal: AbortSignal
  confirm(): Promise<boolean>
}

export async function claimLetters(
  topics: LetterTopics,
  committed: Committed,
  { partition, signal, confirm }: LaneOwnership,
): Promise<LaneLetters> {
  const { claims, input, deadLetters } = topics
  const lane: LaneTopics = { partition, input, output: null, deadLetters: deadLetters.topic }

  async function claim(from: Committed): Promise<LaneWriter> {
    const claimed = await claims.claim(lane, from, confirm, signal)
    if (!signal.aborted) return claimed
    await claimed.close()
    throw retryable('lane_lost', `${input.topic}/${partition} was taken away while it was claimed`)
  }

  let writer = await claim(committed)
  let mark = writer.metadata()
  return {
    mark: () => mark,
    resumeAt: writer.tail.resumeAt,
    ended: (offset) => writer.tail.askBelow !== null && writer.tail.ended(offset, null),
    async write(rejected, attempts, upTo) {
      let latest = mark
      for (const outcome of outcomesOf(rejected)) {
        const now = deadLetters.clock.now()
        const options = { output: null, deadLetters, attempts, now, limits: OUTGOING_LIMITS }
        for (const part of outgoing(outcome, options).parts) latest = await writer.write(part.deadLetters, null, upTo)
      }
      mark = latest
    },
    async writeLost(range) {
      const { key, value } = encodeLostRange(deadLetters, input, range)
      const timestamps = deadLetters.clock.now()
      const letter = { length: 1, timestamps, keys: slicesOf([key]), values: slicesOf([value]), headers: null }
      mark = await writer.write(letter, null, range.from)
    },
    async passed(upTo) {
      mark = await writer.write(null, null, upTo).catch(() => mark)
    },
    async claimAgain(position) {
      await writer.close()
      writer = await claim({ offset: position, metadata: mark })
    },
    async close() {
      try {
        await writer.close()
      } catch (error) {
        // what was on its way is asked for by the next claim
        if (fateOf(error) !== 'retry') throw error
      }
    },
  }
}

/** By batch, in their order. */
function* outcomesOf(rejected: readonly RejectedRecord[]): Generator<SealedOutcome> {
  for (let from = 0; from < rejected.length; ) {
    const batch = (rejected[from] as RejectedRecord).batch
    let to = from
    while (rejected[to]?.batch === batch) to += 1
    const rejections = rejected.slice(from, to).map(({ index, rejection }): [number, Rejection] => [index, rejection])
    yield { batch, settled: batch.length, emissions: new Map(), columns: new Map(), rejections, deferral: null }
    from = to
  }
}
