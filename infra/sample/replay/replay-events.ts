import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../../runtime/clock.ts'
import type { CountedProducer } from './counted-producer.ts'
import type { LabelFeed } from './label-feed.ts'
import type { Pace } from './pace.ts'
import type { TableFeed } from './table-feed.ts'
import type { DataRecord, TimedRecords } from './timed-records.ts'

export interface ReplayEventsOptions {
  readonly events: TimedRecords
  readonly idField: string
  readonly limit: number
  readonly pace: Pace
  readonly clock: Clock
  readonly toEvents: Pick<CountedProducer, 'send' | 'flush'>
  readonly tables: TableFeed
  /** Null for a pipeline without labels. */
  readonly labels: { readonly feed: LabelFeed; readonly toLabels: Pick<CountedProducer, 'send' | 'flush'> } | null
  readonly onEvent: (time: number) => void
  /** Ends the replay: rejects with the signal's reason. */
  readonly signal: AbortSignal
}

/** Events between two turns of the event loop, in which Kafka's answers are read. */
const BURST = 500

/** Events in their order, with the labels that have happened by then; at the end what is left of the labels. */
export async function replayEvents(options: ReplayEventsOptions): Promise<void> {
  const { events, idField, limit, pace, clock, toEvents, tables, signal } = options
  let left = limit
  while (left > 0 && events.head !== null) {
    signal.throwIfAborted()
    const burst = pace.take(clock.monotonic(), Math.min(BURST, left))
    left -= burst
    for (let sent = 0; sent < burst && events.head !== null; sent++) {
      const { time, record } = events.head
      if (!tables.coveredTo(time)) await tables.prepare(time)
      const room = toEvents.send(record)
      options.onEvent(time)
      await sendLabels(options, time, String(record[idField]))
      if (room !== null) await room
      await events.advance()
    }
    if (burst === 0) await clock.sleep(Math.max(1, pace.waitMs(clock.monotonic())), signal)
    else await nextTurn()
  }
  await toEvents.flush()
  await sendLabels(options, Number.POSITIVE_INFINITY, null)
  await options.labels?.toLabels.flush()
  signal.throwIfAborted()
}

/** The labels of the event, if they are known already, and then all that happened up to that time. */
async function sendLabels(
  { labels, signal }: ReplayEventsOptions,
  time: number,
  eventId: string | null,
): Promise<void> {
  if (labels === null) return
  const { feed, toLabels } = labels
  const send = async (label: DataRecord): Promise<void> => {
    const room = toLabels.send(label)
    if (room !== null) await room
  }
  if (eventId !== null) {
    for (const label of feed.replayed(eventId)) await send(label)
  }
  while (feed.dueBy(time)) {
    signal.throwIfAborted()
    const label = await feed.next()
    if (label !== null) await send(label)
  }
}
