import { createLane, type Lane } from './lane.ts'

/**
 *   opening   `open` is asked where to begin
 *   flowing   fetched, handed out, committed
 *   draining  moves to another member: nothing more is handed out until all that is out has ended and is committed
 *   closing   drained and committed: `close` runs, and the group still counts it as ours
 *   lost      the group has given it away, or it did not drain in time: nothing of it counts any more
 *
 *   opening → flowing → draining → closing      draining → flowing (given back)      opening → closing      any → lost
 */
export type OwnedState = 'opening' | 'flowing' | 'draining' | 'closing' | 'lost'

/** Of one partition in one request. */
export const FETCH_BYTES = 1_048_576

/** One assignment of a partition to us, from the assignment until it is closed. */
export interface OwnedLane {
  readonly partition: number
  readonly records: Lane
  /** Aborts when it begins to close, or is lost. */
  readonly gone: AbortController
  state: OwnedState
  /** Whether `open` was called. */
  opened: boolean
  /** Resolves when its opening is over, whatever came of it. */
  opening: Promise<void>
  /** Last committed offset that we know of. */
  committed: number
  /** The log's end as last seen, and the end of what can be read of it; -1 before the first fetch. */
  end: number
  readableEnd: number
  /** A request for it is on its way. */
  fetching: boolean
  /** Its leader is being looked for, or it waits after an error. */
  stale: boolean
  /** The log does not have its position: it is being found out why. */
  locating: boolean
  /** Holds as much as it may; fetched again at half of that. */
  full: boolean
  /** Below this offset it is never full. */
  reach: number
  /** How much to ask for; more than the usual after an answer that held only a part of the next batch. */
  fetchBytes: number
  /** Answers in a row whose first batch reached above the log's end. */
  aboveEnd: number
  /** When it last moved, or had nothing to work on; monotonic ms. */
  movedAt: number
  /** Counts how often it began to drain. */
  drains: number
  /** Set while somebody waits for its last batch. */
  idle: (() => void) | null
}

export function ownedLane(topic: string, partition: number, generation: string, now: number): OwnedLane {
  return {
    partition,
    records: createLane(topic, partition, generation),
    gone: new AbortController(),
    state: 'opening',
    opened: false,
    opening: Promise.resolve(),
    committed: -1,
    end: -1,
    readableEnd: -1,
    fetching: false,
    stale: false,
    locating: false,
    full: false,
    reach: 0,
    fetchBytes: FETCH_BYTES,
    aboveEnd: 0,
    movedAt: now,
    drains: 0,
    idle: null,
  }
}

/** Ours, so that it may be committed. */
export function isOwned({ state }: OwnedLane): boolean {
  return state !== 'lost' && state !== 'closing'
}

/** Batches of it may be settled and their outputs written. */
export function isWorking({ state }: OwnedLane): boolean {
  return state === 'flowing' || state === 'draining'
}
