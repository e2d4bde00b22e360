import type { DeadLetter } from '../../../schemas/generated/records.ts'

/** Where the bytes of a replay come from. */
export type Replayable =
  /** The letter holds the whole event. */
  | { readonly from: 'letter' }
  /** The event itself, at this offset of `events`; where it is gone, the letter's own bytes count if they are whole. */
  | { readonly from: 'events'; readonly generation: string; readonly offset: number; readonly letterIsWhole: boolean }
  | { readonly from: null; readonly refusal: Refusal }

export type Refusal = keyof typeof REFUSALS

/** Why a letter is not replayed, as the commands say it. */
export const REFUSALS = {
  unstored:
    'its event is predicted already, only a row in ClickHouse is missing: another event would be a second prediction; mend what the message names and insert the row from the topic',
  no_bytes: 'the records were deleted before they were read: there is nothing to replay',
  no_event: 'inference could not read it, so its event is unknown',
  gone: "its event is no longer in the events topic, and the letter does not hold the event's bytes",
} as const

/** What a replay of the letter would take. */
export function replayableOf(letter: DeadLetter, eventsTopic: string): Replayable {
  if (letter.kind === 'unstored') return { from: null, refusal: 'unstored' }
  if (letter.kind === 'retention_lost') return { from: null, refusal: 'no_bytes' }
  const isEvent = letter.topic === eventsTopic
  if (!isEvent) {
    // what inference was given is a feature vector
    if (letter.origin_offset < 0) return { from: null, refusal: 'no_event' }
    return { from: 'events', generation: letter.origin_generation, offset: letter.origin_offset, letterIsWhole: false }
  }
  const isComplete = letter.kind === 'rejected' && letter.original_bytes === null
  if (isComplete && letter.value.length > 0) return { from: 'letter' }
  return {
    from: 'events',
    generation: letter.source_generation,
    offset: letter.source_offset,
    letterIsWhole: isComplete,
  }
}
