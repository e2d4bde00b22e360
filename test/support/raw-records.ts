import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'

export interface RawRecord {
  readonly partition: number
  readonly key: string
  /** Null = a tombstone. */
  readonly value: Buffer | null
  readonly headers?: Readonly<Record<string, string>>
}

/** Writes records as they are, nonsense included. Resolves with the offset of each. */
export async function writeRawRecords(
  env: Readonly<Record<string, string>>,
  topic: string,
  records: readonly RawRecord[],
): Promise<readonly number[]> {
  const client = createKafkaClient(kafkaConfig(readConfig(CONNECTIONS, env)), 'test', silentLogger)
  const producer = client.native.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  try {
    const messages = records.map(({ partition, key, value, headers }) => ({
      partition,
      key,
      value,
      ...(headers === undefined ? {} : { headers: { ...headers } }),
    }))
    const answers = await producer.send({ topic, messages })
    const next = new Map(answers.map(({ partition, baseOffset }) => [partition, Number(baseOffset)]))
    return records.map(({ partition }) => {
      const offset = next.get(partition)
      if (offset === undefined) throw new Error(`no answer for ${topic}/${partition}`)
      next.set(partition, offset + 1)
      return offset
    })
  } finally {
    await producer.disconnect()
  }
}
