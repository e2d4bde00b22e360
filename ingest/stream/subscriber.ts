import { rejected } from '../../infra/runtime/errors.ts'
import { parseRequestId } from '../../schemas/request-id.ts'
import type { PredictionView } from '../answers/answers.ts'
import type { FedPrediction, FeedFilter, FeedPosition, FeedSubscription } from './prediction-feed.ts'

export interface SubscriberLimits {
  /** Most that may wait for one subscriber. */
  readonly maxQueuedBytes: number
  readonly maxQueuedItems: number
}

/** What waits for all subscribers together, counted as it comes and goes. */
export interface Queued {
  bytes: number
}

/** Where predictions are put for one subscriber. Nothing here waits but its iteration. */
export interface Subscriber extends Omit<FeedSubscription, 'generation'> {
  readonly tenant: string
  readonly queuedBytes: number
  readonly ended: boolean
  /** The offset behind the last one that was looked at for it. */
  looked(partition: number): number
  /** From now on the live tail looks at the partition for it. */
  join(partition: number): void
  hasJoined(partition: number): boolean
  /** Whether it wants the event of that origin; asks for the key when it has to. */
  wants(partition: number, originOffset: number, key: () => string | null): boolean
  /** `bytes`: about what it holds in memory. */
  offer(partition: number, offset: number, prediction: PredictionView, bytes: number): void
  /** Everything below `next` has been looked at. */
  pass(partition: number, next: number): void
  /** Whether a subscriber that reads the log by itself may go on with it. */
  hasRoom(): boolean
  /** Resolves when it has, or has ended. */
  room(): Promise<void>
  /** What waits can still be taken, then the error is thrown; null = the iteration just ends, at once. */
  end(error: Error | null): void
  /** What waits is given up, and the error is thrown at once; its position stays before what was not taken. */
  drop(error: Error): void
}

interface Waiting {
  readonly partition: number
  readonly offset: number
  readonly prediction: PredictionView
  readonly bytes: number
}

/** A partition as it stands for the subscriber. */
interface Standing {
  looked: number
  joined: boolean
  /** How many wait, and where to resume while some do. */
  waiting: number
  resume: number
}

const ITEM_BYTES = 256

/** `onEnded` is called once. */
export function createSubscriber(
  filter: FeedFilter,
  from: FeedPosition,
  limits: SubscriberLimits & { readonly queued: Queued },
  onEnded: () => void,
): Subscriber {
  const { tenant, keys, requestIds } = filter
  const wantedOffsets = requestIds === null ? null : offsetsOf(requestIds)
  const standings = new Map<number, Standing>()
  for (const [partition, looked] of from) {
    standings.set(partition, { looked, joined: false, waiting: 0, resume: looked })
  }
  let queue: Waiting[] = []
  /** The queue begins here; what was taken before is cut off now and then. */
  let head = 0
  let queuedBytes = 0
  let ended = false
  let failure: Error | null = null
  let wakeTaker: () => void = () => {}
  let wakeReader: () => void = () => {}

  function standingOf(partition: number): Standing {
    let standing = standings.get(partition)
    if (standing === undefined) {
      standing = { looked: 0, joined: false, waiting: 0, resume: 0 }
      standings.set(partition, standing)
    }
    return standing
  }

  const hasRoom = (): boolean =>
    queuedBytes * 2 <= limits.maxQueuedBytes && (queue.length - head) * 2 <= limits.maxQueuedItems

  function hold(bytes: number): void {
    queuedBytes += bytes
    limits.queued.bytes += bytes
  }

  function clear(): void {
    queue = []
    head = 0
    hold(-queuedBytes)
  }

  function end(error: Error | null): void {
    if (error === null) {
      clear()
      failure = null
    } else if (!ended) failure = error
    wakeTaker()
    wakeReader()
    if (ended) return
    ended = true
    onEnded()
  }

  function position(): FeedPosition {
    const found = new Map<number, number>()
    for (const [partition, { looked, waiting, resume }] of standings)
      found.set(partition, waiting > 0 ? resume : looked)
    return found
  }

  function take(): FedPrediction | null {
    const item = queue[head]
    if (item === undefined) return null
    head += 1
    if (head > 1_000 && head * 2 > queue.length) {
      queue = queue.slice(head)
      head = 0
    }
    hold(-item.bytes)
    const standing = standingOf(item.partition)
    standing.waiting -= 1
    standing.resume = item.offset + 1
    if (hasRoom()) wakeReader()
    return { prediction: item.prediction, position: position() }
  }

  async function* iterate(): AsyncGenerator<FedPrediction, void> {
    try {
      for (;;) {
        const taken = take()
        if (taken !== null) yield taken
        else if (!ended) {
          const { promise, resolve } = Promise.withResolvers<void>()
          wakeTaker = resolve
          await promise
        } else if (failure !== null) throw failure
        else return
      }
    } finally {
      end(null)
    }
  }

  return {
    tenant,
    get queuedBytes() {
      return queuedBytes
    },
    get ended() {
      return ended
    },
    looked: (partition) => standingOf(partition).looked,
    join(partition) {
      standingOf(partition).joined = true
    },
    hasJoined: (partition) => standings.get(partition)?.joined ?? false,
    wants(partition, originOffset, key) {
      if (wantedOffsets !== null && !wantedOffsets.get(partition)?.has(originOffset)) return false
      if (keys === null) return true
      const own = key()
      return own !== null && keys.has(own)
    },
    offer(partition, offset, prediction, bytes) {
      if (ended) return
      // an offset of the same partition on another day is another event
      if (requestIds !== null && !requestIds.has(prediction.request_id)) return
      const standing = standingOf(partition)
      const held = bytes + ITEM_BYTES
      const count = queue.length - head
      const isTooMuch = count > 0 && (queuedBytes + held > limits.maxQueuedBytes || count >= limits.maxQueuedItems)
      // what it reads by itself it reads only while there is room
      if (standing.joined && isTooMuch) {
        end(rejected('subscriber_too_slow', `more than ${limits.maxQueuedBytes} bytes wait for the subscriber`))
        return
      }
      if (standing.waiting === 0) standing.resume = offset
      standing.waiting += 1
      standing.looked = offset + 1
      queue.push({ partition, offset, prediction, bytes: held })
      hold(held)
      wakeTaker()
    },
    pass(partition, next) {
      if (ended) return
      const standing = standingOf(partition)
      standing.looked = Math.max(standing.looked, next)
    },
    hasRoom,
    async room() {
      while (!(ended || hasRoom())) {
        const { promise, resolve } = Promise.withResolvers<void>()
        wakeReader = resolve
        await promise
      }
    },
    end,
    drop(error) {
      clear()
      end(error)
    },
    position,
    [Symbol.asyncIterator]: iterate,
  }
}

/** Of the events that the ids name, by partition; what is no request id names none. */
function offsetsOf(requestIds: ReadonlySet<string>): ReadonlyMap<number, ReadonlySet<number>> {
  const offsets = new Map<number, Set<number>>()
  for (const text of requestIds) {
    const id = parseRequestId(text)
    if (id === null) continue
    const known = offsets.get(id.partition)
    if (known === undefined) offsets.set(id.partition, new Set([id.offset]))
    else known.add(id.offset)
  }
  return offsets
}
