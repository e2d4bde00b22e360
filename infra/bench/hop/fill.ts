import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { KafkaConnections } from '../../runtime/kafka/connections/connections.ts'
import { createIdempotentWriter } from '../../runtime/kafka/producer/idempotent-writer.ts'
import { untilDone } from '../../runtime/lifecycle/retry.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { createFlights } from '../flights.ts'

const BATCH_ROWS = 1_000
/** A broker that has just started has to load its coordinator. */
const BACKOFF = { baseMs: 100, maxMs: 2_000 }
const NEVER = new AbortController().signal
/** Different batches; a longer log repeats them. */
const BATCHES = 64

/** Writes so many flights, the same number to each partition; not compressed, as kafkajs reads nothing else but gzip. */
export async function fillEvents(options: {
  readonly connections: KafkaConnections
  readonly pipeline: CompiledPipeline
  readonly schemaId: number
  readonly topic: string
  readonly partitions: number
  readonly events: number
}): Promise<void> {
  const { connections, pipeline, schemaId, topic, partitions, events } = options
  const flights = createFlights(pipeline, schemaId)
  const batches = Array.from({ length: BATCHES }, () => Array.from({ length: BATCH_ROWS }, () => flights.next()))
  const writer = createIdempotentWriter({ connections, clock: systemClock, logger: silentLogger, compression: 'none' })
  try {
    for (let written = 0, turn = 0; written < events; turn++) {
      const round = Array.from({ length: partitions }, (_, partition) => {
        const records = batches[(turn * partitions + partition) % BATCHES] ?? []
        return { topic, partition, records }
      })
      await untilDone('events', () => writer.value.write(round), {
        backoff: BACKOFF,
        clock: systemClock,
        logger: silentLogger,
        signal: NEVER,
      })
      written += BATCH_ROWS * partitions
    }
  } finally {
    await writer.stop()
  }
}
