import type { Clock } from '../../runtime/clock.ts'
import { describeError, fatal, fateOf } from '../../runtime/errors.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'

/** A consumer group and the topic that it reads. */
export interface Reader {
  readonly group: string
  readonly topic: string
}

/** Where each partition of a topic ended. */
export type Ends = ReadonlyMap<number, number>

export interface DrainDeps {
  readonly admin: Pick<KafkaAdmin, 'partitionCounts' | 'committed'>
  readonly logs: Pick<LogReader, 'range' | 'read'>
  readonly clock: Clock
  readonly say: (line: string) => void
}

/** Longer than producers collect records before they send them. */
const QUIET_MS = 3_000
const POLL_MS = 500
const SAY_EVERY_MS = 5_000

/**
 * Waits until every reader has committed all that its topic holds, and nothing has been written to the topic that the first
 * of them reads, which is where records come in, for three seconds. Resolves with the ends of that topic. Rejects with
 * `events_still_written` (crash) as soon as it moves.
 */
export async function drain(deps: DrainDeps, readers: readonly [Reader, ...Reader[]]): Promise<Ends> {
  const { clock, say } = deps
  const [{ topic: intake }] = readers
  let ends: Ends | null = null
  let since = clock.monotonic()
  let saidAt = Number.NEGATIVE_INFINITY
  for (;;) {
    let waitsFor: readonly string[]
    try {
      if (ends === null) {
        ends = await endsOf(deps, intake)
        since = clock.monotonic()
      } else await requireUnmoved(deps, intake, ends)
      waitsFor = await behindOf(deps, readers)
      if (waitsFor.length === 0 && clock.monotonic() - since >= QUIET_MS) return ends
    } catch (error) {
      if (fateOf(error) !== 'retry') throw error
      waitsFor = [describeError(error).message]
    }
    if (waitsFor.length > 0 && clock.monotonic() - saidAt >= SAY_EVERY_MS) {
      saidAt = clock.monotonic()
      say(`waiting   ${waitsFor.join(', ')}`)
    }
    await clock.sleep(POLL_MS)
  }
}

/** Rejects with `events_still_written` (crash) when a partition does not end where it did. */
export async function requireUnmoved(deps: DrainDeps, topic: string, before: Ends): Promise<void> {
  const now = await endsOf(deps, topic)
  for (const [partition, end] of before) {
    const moved = (now.get(partition) ?? end) - end
    if (moved !== 0) {
      throw fatal(
        'events_still_written',
        `${topic}/${partition} has moved by ${moved} offset(s): stop whoever writes to ${topic}, then run this again`,
      )
    }
  }
}

async function endsOf({ admin, logs }: DrainDeps, topic: string): Promise<Ends> {
  const count = (await admin.partitionCounts([topic])).get(topic) ?? 0
  const ends = Array.from(
    { length: count },
    async (_, partition): Promise<[number, number]> => [partition, (await logs.range(topic, partition)).end],
  )
  return new Map(await Promise.all(ends))
}

async function behindOf(deps: DrainDeps, readers: readonly Reader[]): Promise<readonly string[]> {
  const behind: string[] = []
  for (const { group, topic } of readers) {
    const committed = await deps.admin.committed(group, topic)
    let left = 0
    for (const [partition, end] of await endsOf(deps, topic)) {
      const position = committed.get(partition) ?? (await deps.logs.range(topic, partition)).start
      if (position < end && (await holdsRecords(deps, topic, partition, position, end))) left += end - position
    }
    if (left > 0) behind.push(`${group} has ${left} of ${topic} to go`)
  }
  return behind
}

/** What a claim leaves behind the last record is nothing to read. */
async function holdsRecords(
  { logs }: DrainDeps,
  topic: string,
  partition: number,
  from: number,
  to: number,
): Promise<boolean> {
  for await (const { length } of logs.read(topic, partition, from, to)) {
    if (length > 0) return true
  }
  return false
}
