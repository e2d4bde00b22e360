import { setTimeout as sleep } from 'node:timers/promises'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { AvroCursor, writeLong } from '../../runtime/avro/avro-bytes.ts'
import { WIRE_HEADER_BYTES } from '../../runtime/avro/wire-format.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { KafkaConnections } from '../../runtime/kafka/connections/connections.ts'
import { createLogReader } from '../../runtime/kafka/log-reader.ts'
import { createIdempotentWriter } from '../../runtime/kafka/producer/idempotent-writer.ts'
import type { RecordSet } from '../../runtime/kafka/record-batches/decode-record-set.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { createFlights } from '../flights.ts'

export interface LatencyOptions {
  readonly connections: KafkaConnections
  readonly pipeline: CompiledPipeline
  readonly schemaId: number
  readonly topic: string
  readonly output: string
  readonly partitions: number
  /** Events a second. */
  readonly rate: number
  /** Runs the hop until it has ended so many events. */
  readonly hop: (signal: AbortSignal, events: number) => Promise<unknown>
}

const TURN_MS = 5
const SECONDS = 20
/** The first ones find a process that has not compiled its code. */
const WARM_UP_SECONDS = 5
const POOL = 4_096

/**
 * How long after its producer had it in hand an event's prediction was in the hands of a reader of the output. The time is
 * in the event: its `event_time`, which the prediction carries.
 */
export async function measureLatency(options: LatencyOptions) {
  const { connections, topic, output, partitions, rate } = options
  const clock = systemClock
  const flights = createFlights(options.pipeline, options.schemaId)
  const pool = Array.from({ length: POOL }, () => flights.next())
  const perTurn = Math.max(1, Math.round((rate * TURN_MS) / 1_000 / partitions))
  const turns = (SECONDS * 1_000) / TURN_MS
  const total = perTurn * partitions * turns
  const stopping = new AbortController()
  const waits: number[] = []
  const writer = createIdempotentWriter({ connections, clock, logger: silentLogger })
  const reader = createLogReader({ connections, clock })
  const readers = Array.from({ length: partitions }, (_, partition) => readPartition(partition))
  const hop = options.hop(stopping.signal, total)
  let startedAt = Number.POSITIVE_INFINITY

  async function readPartition(partition: number): Promise<void> {
    let position = 0
    for (let seen = 0; seen < perTurn * turns; ) {
      const { end } = await reader.waitForEnd(output, partition, position, stopping.signal)
      for await (const set of reader.read(output, partition, position, end)) {
        seen += set.length
        position = set.nextOffset
        note(set)
      }
    }
  }

  function note({ values, length }: RecordSet): void {
    const now = clock.now()
    if (now < startedAt + WARM_UP_SECONDS * 1_000) return
    for (let row = 0; row < length; row++) waits.push(now - eventTime(values.bytes, values.starts[row] as number))
  }

  try {
    // what is produced while the hop joins its group would measure its start
    const first = await Promise.race([hop, sleep(3_000)])
    if (first !== undefined) throw new Error('the hop ended before it was given an event')
    startedAt = clock.now()
    const due = performance.now()
    const writes: Promise<unknown>[] = []
    for (let turn = 0; turn < turns; turn++) {
      const wait = due + turn * TURN_MS - performance.now()
      if (wait > 1) await sleep(wait)
      const now = clock.now()
      const batches = Array.from({ length: partitions }, (_, partition) => {
        const records = Array.from({ length: perTurn }, (_, at) => {
          const one = pool[(turn * partitions * perTurn + partition * perTurn + at) % POOL] as (typeof pool)[number]
          return { key: one.key, value: stamped(one.value, now) }
        })
        return { topic, partition, records }
      })
      writes.push(writer.value.write(batches))
    }
    await Promise.all(writes)
    await Promise.all([...readers, hop])
    waits.sort((a, b) => a - b)
    const at = (share: number): number => waits[Math.floor(waits.length * share)] ?? Number.NaN
    return { rate, events: waits.length, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1 - 1 / waits.length) }
  } finally {
    stopping.abort()
    await Promise.allSettled([...readers, hop])
    await writer.stop()
  }
}

const cursor = new AvroCursor()

/** With another event time, which is as long. */
function stamped(value: Buffer, time: number): Buffer {
  const copy = Buffer.from(value)
  writeLong(copy, behindId(copy), time)
  return copy
}

function behindId(value: Buffer): number {
  cursor.bytes = value
  cursor.at = WIRE_HEADER_BYTES
  cursor.end = value.length
  const length = cursor.length()
  return cursor.at + length
}

/** Of a prediction: behind its event_id, tenant and segment. */
function eventTime(bytes: Buffer, start: number): number {
  cursor.bytes = bytes
  cursor.at = start + WIRE_HEADER_BYTES
  cursor.end = bytes.length
  for (let text = 0; text < 3; text++) cursor.pass(cursor.length())
  return cursor.long()
}
