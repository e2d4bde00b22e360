import type { Findings } from './findings.ts'

/** What is known of a record's origin. */
export const ORIGIN = {
  /** `origins` holds its offset in `events`. */
  known: 0,
  /** Its bytes are not what our stages write. */
  unreadable: 1,
  /** It belongs to an events topic of that name that was deleted. */
  otherGeneration: 2,
  /** It is no end of an event: a shadow's prediction, a letter of sinks. */
  aside: 3,
} as const

/** Records of an output, in the order of the log: row i says what it is about. */
export interface OriginColumns {
  readonly length: number
  /** In the output's own log. */
  readonly offsets: Float64Array
  readonly origins: Float64Array
  /** One of ORIGIN. */
  readonly kinds: Uint8Array
}

export interface EventLaneTopics {
  readonly events: string
  readonly features: string
  readonly predictions: string
  readonly deadLetters: string
}

/** A record of `events` that repeats another one from its dead letter. */
export interface Replay {
  readonly offset: number
  /** Coordinates of the letter, as the record names it. */
  readonly replayOf: string
  end: 'predicted' | 'dead-lettered' | 'open'
  /** Offset of its prediction or dead letter. */
  endOffset: number | null
}

export interface EventAccount {
  readonly events: number
  readonly predicted: number
  readonly deadLettered: number
  /** Deleted before inference read them, and a dead letter says so. */
  readonly retentionLost: number
  /** Not ended yet, where no stage has committed a position above them. */
  readonly inFlight: number
  /** Outputs of an events topic of the same name that was deleted: not part of this account. */
  readonly ofEarlierTopic: number
  readonly replayed: { readonly predicted: number; readonly deadLettered: number; readonly open: number }
  /** The first ones. */
  readonly replays: readonly Replay[]
}

export interface Closing {
  /** Processors have ended every event below this offset. */
  readonly processedBelow: number
  /** Records of `features` that a letter of inference says were deleted unread, and a bound of the events they were of. */
  readonly lost: { readonly records: number; readonly below: number }
}

/**
 * The first ledger of one lane: every record of `events` in [from, to) and its one end. Pure: it is told what is in the logs,
 * events first, each log in its order, and answers what does not add up through `findings`. One byte of memory per offset.
 */
export interface EventLedger {
  events(offsets: Float64Array, length: number): void
  replay(offset: number, replayOf: string): void
  /** Rows at or above `unreadFrom` in the features log are not committed by inference yet. */
  features(rows: OriginColumns, unreadFrom: number): void
  /** Tells the offset of each row that repeats an event's prediction. */
  predictions(rows: OriginColumns, repeated: (offset: number) => void): void
  /** Letters of one stage. */
  deadLetters(stage: string, rows: OriginColumns): void
  /** Once, at last. */
  close(closing: Closing): EventAccount
}

const EVENT = 1
const FEATURE = 2
const UNREAD = 4
const PREDICTED = 8
const DEAD = 16
const REPLAY = 32

export function createEventLedger(
  range: { readonly from: number; readonly to: number },
  topics: EventLaneTopics,
  findings: Findings,
  maxReplays: number,
): EventLedger {
  const { from } = range
  const size = Math.max(0, range.to - from)
  const states = new Uint8Array(size)
  const replays = new Map<number, Replay>()
  const ordered = { features: { last: -1, current: false }, predictions: { last: -1, current: false } }
  const currentOf = new Map<string, { current: boolean }>()
  let ofEarlierTopic = 0

  /** Null when the row is no end of an event of this topic; else the event's offset. */
  function originOf(
    rows: OriginColumns,
    row: number,
    topic: string,
    seen: { current: boolean },
    what: string,
  ): number | null {
    const offset = rows.offsets[row] as number
    switch (rows.kinds[row]) {
      case ORIGIN.known:
        seen.current = true
        return rows.origins[row] as number
      case ORIGIN.otherGeneration:
        if (seen.current)
          findings.add('foreign', topic, offset, `${what} of another events topic among those of this one`)
        else ofEarlierTopic += 1
        return null
      case ORIGIN.unreadable:
        findings.add('foreign', topic, offset, `not ${what} of ours: its bytes cannot be read as one`)
        return null
      default:
        return null
    }
  }

  function isEvent(topic: string, offset: number, origin: number, what: string): boolean {
    if (((states[origin - from] as number) & EVENT) !== 0) return true
    findings.add('foreign', topic, offset, `${what} of offset ${origin} of ${topics.events}, which holds no record`)
    return false
  }

  function end(origin: number, offset: number, as: typeof PREDICTED | typeof DEAD): void {
    const state = states[origin - from] as number
    states[origin - from] = state | as
    if ((state & REPLAY) === 0) return
    const replay = replays.get(origin)
    if (replay === undefined) return
    replay.end = as === PREDICTED ? 'predicted' : 'dead-lettered'
    replay.endOffset = offset
  }

  /** The order of the rows of a lane; `repeated` says whether the same event was among them before. */
  function ordering(
    lane: { last: number },
    topic: string,
    offset: number,
    origin: number,
    repeated: boolean,
    what: string,
  ): void {
    const { last } = lane
    if (repeated || origin === last) {
      findings.add('double', topic, offset, `a second ${what} of event ${origin}`)
    } else if (origin < last) {
      findings.add('outOfOrder', topic, offset, `the ${what} of event ${origin} comes after that of event ${last}`)
    }
    lane.last = Math.max(last, origin)
  }

  return {
    events(offsets, length) {
      for (let row = 0; row < length; row++) {
        const at = (offsets[row] as number) - from
        if (at >= 0 && at < size) states[at] = EVENT
      }
    },

    replay(offset, replayOf) {
      const at = offset - from
      if (at < 0 || at >= size) return
      states[at] = (states[at] as number) | REPLAY
      if (replays.size < maxReplays) replays.set(offset, { offset, replayOf, end: 'open', endOffset: null })
    },

    features(rows, unreadFrom) {
      const lane = ordered.features
      for (let row = 0; row < rows.length; row++) {
        const origin = originOf(rows, row, topics.features, lane, 'a feature vector')
        if (origin === null) continue
        const offset = rows.offsets[row] as number
        const at = origin - from
        const inside = at >= 0 && at < size
        if (inside && !isEvent(topics.features, offset, origin, 'a feature vector')) continue
        const state = inside ? (states[at] as number) : 0
        ordering(lane, topics.features, offset, origin, (state & FEATURE) !== 0, 'feature vector')
        if (inside) states[at] = state | FEATURE | (offset >= unreadFrom ? UNREAD : 0)
      }
    },

    predictions(rows, repeated) {
      const lane = ordered.predictions
      for (let row = 0; row < rows.length; row++) {
        const origin = originOf(rows, row, topics.predictions, lane, 'a prediction')
        if (origin === null) continue
        const offset = rows.offsets[row] as number
        const at = origin - from
        const inside = at >= 0 && at < size
        if (inside && !isEvent(topics.predictions, offset, origin, 'a prediction')) continue
        const state = inside ? (states[at] as number) : 0
        const isRepeated = (state & PREDICTED) !== 0 || origin === lane.last
        ordering(lane, topics.predictions, offset, origin, isRepeated, 'prediction')
        if (isRepeated) repeated(offset)
        if (inside) end(origin, offset, PREDICTED)
      }
    },

    deadLetters(stage, rows) {
      const seen = currentOf.get(stage) ?? { current: false }
      currentOf.set(stage, seen)
      for (let row = 0; row < rows.length; row++) {
        const origin = originOf(rows, row, topics.deadLetters, seen, 'a dead letter')
        if (origin === null || origin < from || origin >= from + size) continue
        const offset = rows.offsets[row] as number
        if (!isEvent(topics.deadLetters, offset, origin, 'a dead letter')) continue
        const state = states[origin - from] as number
        if ((state & (PREDICTED | DEAD)) !== 0) {
          const other = (state & PREDICTED) === 0 ? 'has another one' : 'is predicted'
          findings.add('double', topics.deadLetters, offset, `a dead letter of event ${origin}, which ${other}`)
        }
        end(origin, offset, DEAD)
      }
    },

    close({ processedBelow, lost }) {
      const account = { events: 0, predicted: 0, deadLettered: 0, retentionLost: 0, inFlight: 0 }
      const replayed = { predicted: 0, deadLettered: 0, open: 0 }
      for (let at = 0; at < size; at++) {
        const state = states[at] as number
        if ((state & EVENT) === 0) continue
        account.events += 1
        const isReplay = (state & REPLAY) !== 0
        if ((state & PREDICTED) !== 0) {
          account.predicted += 1
          if (isReplay) replayed.predicted += 1
          continue
        }
        if ((state & DEAD) !== 0) {
          account.deadLettered += 1
          if (isReplay) replayed.deadLettered += 1
          continue
        }
        if (isReplay) replayed.open += 1
        const offset = from + at
        if (offset >= processedBelow || (state & UNREAD) !== 0) account.inFlight += 1
        else if (offset < lost.below && account.retentionLost < lost.records) account.retentionLost += 1
        else findings.add('missing', topics.events, offset, missingDetail((state & FEATURE) !== 0))
      }
      return { ...account, ofEarlierTopic, replayed, replays: [...replays.values()] }
    },
  }
}

function missingDetail(hasFeatures: boolean): string {
  return hasFeatures
    ? 'it has features, which inference has passed, and neither a prediction nor a dead letter'
    : 'processors have passed it, and it has neither features nor a prediction nor a dead letter'
}
