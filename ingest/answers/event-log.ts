import type { Clock } from '../../infra/runtime/clock.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createLogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { headerAt } from '../../infra/runtime/kafka/record-batches/record-headers.ts'
import { TENANT_HEADER } from '../../schemas/headers.ts'
import type { CompiledEvent } from '../../schemas/pipeline/compiled.ts'

/** What the events topic itself says of an event: `absent` = not (yet) written, `gone` = no longer kept. */
export type LoggedEvent =
  | { readonly state: 'absent' | 'gone' }
  | { readonly state: 'there'; readonly tenant: string; readonly dayMs: number }

/** The events topic, asked for single events. Calls reject with `retry` when Kafka does not answer in time. */
export interface EventLog {
  /** Topic id, as last seen. */
  generation(): string
  /** Asks for it anew, at most once a second. */
  refresh(): Promise<void>
  look(partition: number, offset: number): Promise<LoggedEvent>
}

export interface EventLogOptions {
  readonly event: Pick<CompiledEvent, 'topic' | 'tenant'>
  readonly connections: KafkaConnections
  readonly clock: Clock
}

const WITHIN_MS = 5_000
const REFRESH_MS = 1_000
/** A batch comes whole, whatever its size. */
const FETCH_BYTES = 1
const MAX_KNOWN = 10_000
const DAY_MS = 86_400_000
const TENANT = Buffer.from(TENANT_HEADER)

export function createEventLog({ event, connections, clock }: EventLogOptions): EventLog {
  const { topic } = event
  const log = createLogReader({ connections, clock, fetchBytes: FETCH_BYTES })
  /** What was found does not change; the oldest goes first. */
  const known = new Map<string, LoggedEvent>()
  let generation = ''
  let partitions = 0
  let askedAt = Number.NEGATIVE_INFINITY

  async function refresh(): Promise<void> {
    if (clock.monotonic() - askedAt < REFRESH_MS) return
    askedAt = clock.monotonic()
    const found = (await connections.topics([topic])).get(topic)
    if (found === undefined) return
    if (found.id !== generation) known.clear()
    generation = found.id
    partitions = found.partitions.length
  }

  async function read(partition: number, offset: number): Promise<LoggedEvent> {
    const signal = AbortSignal.timeout(WITHIN_MS)
    const { start, end } = await log.range(topic, partition, 'read_uncommitted', signal)
    if (offset >= end) return { state: 'absent' }
    if (offset < start) return { state: 'gone' }
    for await (const set of log.read(topic, partition, offset, offset + 1, { signal })) {
      if (set.offsets[0] !== offset) continue
      const timestamp = set.timestamps[0] as number
      const tenant = 'fixed' in event.tenant ? event.tenant.fixed : (headerAt(set, 0, TENANT)?.toString() ?? '')
      return { state: 'there', tenant, dayMs: timestamp - (timestamp % DAY_MS) }
    }
    // a marker, or compacted away
    return { state: 'absent' }
  }

  return {
    generation: () => generation,
    refresh,
    async look(partition, offset) {
      if (partition >= partitions) await refresh()
      if (partition >= partitions) return { state: 'absent' }
      const key = `${partition}.${offset}`
      const before = known.get(key)
      if (before !== undefined) return before
      const found = await read(partition, offset)
      if (found.state === 'there') {
        for (const oldest of known.keys()) {
          if (known.size < MAX_KNOWN) break
          known.delete(oldest)
        }
        known.set(key, found)
      }
      return found
    },
  }
}
