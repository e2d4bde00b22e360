import type { Clock } from '../../infra/runtime/clock.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { RecordSet } from '../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { PredictionRows } from './prediction-rows.ts'
import type { Subscriber } from './subscriber.ts'
import { ISOLATION, type TopicTail } from './topic-tail.ts'

export interface CatchUpOptions {
  readonly topic: string
  readonly log: LogReader
  readonly clock: Clock
  readonly rows: PredictionRows
  readonly deliver: (partition: number, set: RecordSet, subscriber: Subscriber) => void
  readonly maxAtATime: number
}

/** After a reading that found nothing: the leader was just elected and does not know the log's end yet. */
const NOTHING_MS = 100

/**
 * Reads the log for a subscriber from its position to where the live tail is, partition by partition, and joins it to the tail.
 *
 * A partition is joined in the very turn in which the subscriber is found to be where the tail is: the tail hands a set over and
 * moves its position in one turn, so that nothing comes between. One that is ahead of the tail joins as it is: what the tail
 * has below its position is passed over.
 *
 * Reads only while the subscriber has room: who is slow to take what was before is not ended for that alone.
 */
export function createCatchUp({ topic, log, clock, rows, deliver, maxAtATime }: CatchUpOptions) {
  const turns = createTurns(maxAtATime)

  /** Reads on in one partition. */
  async function read(subscriber: Subscriber, partition: number, to: number, signal: AbortSignal): Promise<void> {
    const from = subscriber.looked(partition)
    const leave = await turns.enter()
    try {
      if (signal.aborted) return
      for await (const set of log.read(topic, partition, from, to, { isolation: ISOLATION, signal })) {
        await rows.prepare(set, signal)
        if (signal.aborted) return
        deliver(partition, set, subscriber)
        if (!subscriber.hasRoom()) break
      }
    } finally {
      leave()
    }
    if (subscriber.looked(partition) === from) await clock.sleep(NOTHING_MS, signal)
  }

  return async (subscriber: Subscriber, tail: TopicTail, signal: AbortSignal): Promise<void> => {
    const partitions = tail.partitions
    for (const at of partitions) if (subscriber.looked(at) >= tail.position(at)) subscriber.join(at)
    for (const partition of partitions) {
      while (!subscriber.hasJoined(partition)) {
        await subscriber.room()
        if (signal.aborted) return
        const to = tail.position(partition)
        if (subscriber.looked(partition) >= to) subscriber.join(partition)
        else await read(subscriber, partition, to, signal)
      }
    }
  }
}

/** So many at a time; the others in the order in which they came. */
function createTurns(most: number): { enter(): Promise<() => void> } {
  const waiting: (() => void)[] = []
  let running = 0
  const leave = (): void => {
    const next = waiting.shift()
    if (next === undefined) running -= 1
    else next()
  }
  return {
    async enter() {
      if (running < most) running += 1
      else await new Promise<void>((resolve) => waiting.push(resolve))
      return leave
    },
  }
}
