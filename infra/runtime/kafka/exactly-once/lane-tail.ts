import type { Coordinates, LaneTail } from './lane-writer.ts'

/** A dead letter that was found in the tail. */
export interface DeadLetterCoordinates extends Coordinates {
  /** Topic that the record was read from. */
  readonly topic: string
  readonly stage: string
  /** False when the letter is not the end of the event itself: a prediction that was not stored, a range that retention took. */
  readonly endsEvent: boolean
}

export interface FoundDeadLetter {
  readonly offset: number
  readonly letter: DeadLetterCoordinates
}

export interface TailOptions {
  readonly stage: string
  readonly input: { readonly topic: string; readonly generation: string }
  readonly hasOutput: boolean
  /** Null = it tells nothing of this output: the group wrote another one then. */
  readonly committed: number | null
  /** First offset that the input still has; where to begin when nothing tells. */
  readonly inputStart: number
  /** The last output; null = there is none. */
  readonly last: Coordinates | null
  readonly deadLetters: Iterable<FoundDeadLetter>
}

export interface PlannedTail extends LaneTail {
  /** Null when nothing at or above `resumeAt` has ended. */
  readonly hold: TailHold | null
}

/** What was ended at or above `resumeAt` before this claim: until the lane is past it, commits must lead back to it. */
export interface TailHold {
  /** Of the first dead letter that tells of it; null = only the last output does. */
  readonly deadLetterOffset: number | null
  /** Whether a record of these coordinates lies above everything of the hold. */
  isPassedBy(written: Coordinates): boolean
}

/**
 * Where to go on, and what not to do again. Everything at or below the last output and below the committed offset has ended,
 * because dead letters are acknowledged before the outputs of their batch, and outputs before their commit; above it, what has a
 * dead letter of this stage and input, or one of any stage that ended the event: the stages may have been put together otherwise.
 */
export function planTail(options: TailOptions): PlannedTail {
  const { input, committed, last } = options
  const below = endedBelow(input.generation, last)
  const resumeAt = committed === null ? below || options.inputStart : Math.max(committed, below)
  const sources = new Set<number>()
  const origins = new Map<string, Set<number>>()
  let firstLetter: number | null = null
  for (const { offset, letter } of options.deadLetters) {
    const own = letter.stage === options.stage && letter.topic === input.topic
    const bySource = own && letter.sourceGeneration === input.generation && letter.sourceOffset >= resumeAt
    const byOrigin = options.hasOutput && letter.endsEvent && !isBelow(letter, input.generation, resumeAt, last)
    if (bySource) sources.add(letter.sourceOffset)
    if (byOrigin) setOf(origins, letter.originGeneration).add(letter.originOffset)
    if (bySource || byOrigin) firstLetter ??= offset
  }

  const maxSource = largest(sources)
  const maxOrigins = new Map(Array.from(origins, ([generation, offsets]) => [generation, largest(offsets)]))
  const switched = last !== null && below === 0
  if (switched) {
    maxOrigins.set(last.originGeneration, Math.max(last.originOffset, maxOrigins.get(last.originGeneration) ?? -1))
  }
  const [only, ...others] = maxOrigins
  const nothing = maxSource < 0 && only === undefined
  return {
    resumeAt,
    askBelow: nothing
      ? null
      : {
          source: others.length > 0 ? Number.POSITIVE_INFINITY : maxSource + 1,
          originGeneration: only?.[0] ?? '',
          origin: (only?.[1] ?? -1) + 1,
        },
    ended(sourceOffset, origin) {
      if (sources.has(sourceOffset)) return true
      const { generation, offset } = origin ?? { generation: input.generation, offset: sourceOffset }
      if (last !== null && generation === last.originGeneration && offset <= last.originOffset) return true
      return origins.get(generation)?.has(offset) ?? false
    },
    hold: nothing
      ? null
      : {
          deadLetterOffset: firstLetter,
          isPassedBy: (written) =>
            written.sourceOffset > maxSource &&
            [...maxOrigins].every(
              ([generation, offset]) => written.originGeneration === generation && written.originOffset > offset,
            ),
        },
  }
}

/** The input offset that the last output ends below; 0 when it is of another input. The events topic is its own origin. */
function endedBelow(generation: string, last: Coordinates | null): number {
  if (last?.sourceGeneration === generation) return last.sourceOffset + 1
  return last?.originGeneration === generation ? last.originOffset + 1 : 0
}

function isBelow(letter: Coordinates, input: string, resumeAt: number, last: Coordinates | null): boolean {
  if (letter.originGeneration === '') return true
  if (letter.originGeneration === input && letter.originOffset < resumeAt) return true
  return letter.originGeneration === last?.originGeneration && letter.originOffset <= last.originOffset
}

function setOf(sets: Map<string, Set<number>>, key: string): Set<number> {
  const set = sets.get(key) ?? new Set()
  sets.set(key, set)
  return set
}

function largest(numbers: ReadonlySet<number>): number {
  let max = -1
  for (const number of numbers) max = Math.max(max, number)
  return max
}
