import { systemClock } from '../../infra/runtime/clock.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import type { BrokerError } from '../../infra/runtime/kafka/protocol/error-codes.ts'
import type { ProducerIdentity } from '../../infra/runtime/kafka/protocol/init-producer-id.ts'
import { type ProducedBatch, produceRequest } from '../../infra/runtime/kafka/protocol/produce.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { outputRecords } from './lanes-on-kafka.ts'

const GENERATION = '00000000-0000-0000-0000-000000000000'
const IN_FLIGHT = 3

/** Writes one record to partition 0 as whoever has this id, epoch and sequence; nothing stops it but the broker. */
export async function writeAs(
  connections: KafkaConnections,
  topic: string,
  producer: ProducerIdentity,
  sequence: number,
): Promise<ProducedBatch> {
  const batch = encodeBatch(outputRecords(GENERATION, [sequence]), { producer: { ...producer, sequence } })
  await connections.topics([topic])
  const leader = connections.leaderOf(topic, 0) ?? 0
  const [produced] = await connections.send(leader, 'produce', produceRequest([{ topic, partition: 0, batch }], 5_000))
  if (produced === undefined) throw new Error('no answer')
  return produced
}

/** A writer that does not know that it was replaced. */
export interface Zombie {
  /** Resolves when it has been refused; offsets of what was accepted, and why it was refused. */
  readonly refused: Promise<{ readonly accepted: readonly number[]; readonly error: BrokerError }>
  /** Resolves when it has written its first record. */
  readonly awake: Promise<void>
  stop(): Promise<void>
}

/** Writes without pause, several batches on their way, over connections of its own. */
export function startZombie(brokers: readonly string[], topic: string, producer: ProducerIdentity, from = 0): Zombie {
  const config = { brokers }
  const connections = createKafkaConnections({ config, clientId: 'zombie', logger: silentLogger, clock: systemClock })
  const accepted: number[] = []
  const awake = Promise.withResolvers<void>()
  let sequence = from
  let stopped = false
  let error: BrokerError | null = null

  async function write(): Promise<void> {
    while (error === null && !stopped) {
      const produced = await writeAs(connections, topic, producer, sequence++)
      if (produced.error === null) accepted.push(produced.baseOffset)
      // what stands behind a refused one is out of order
      else if (produced.error !== 'OUT_OF_ORDER_SEQUENCE_NUMBER') error = produced.error
      awake.resolve()
    }
  }

  const writing = (async () => {
    await connections.topics([topic])
    // the first alone: afterwards the order of the connection holds
    const first = await writeAs(connections, topic, producer, sequence++)
    if (first.error === null) accepted.push(first.baseOffset)
    else error = first.error
    awake.resolve()
    await Promise.all(Array.from({ length: IN_FLIGHT }, write))
  })()
  return {
    awake: awake.promise,
    refused: writing.then(async () => {
      await connections.close()
      return { accepted, error: error ?? 'UNKNOWN_SERVER_ERROR' }
    }),
    async stop() {
      stopped = true
      await writing
      await connections.close()
    },
  }
}
