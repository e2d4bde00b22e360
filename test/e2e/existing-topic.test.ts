import { expect, inject, test } from 'vitest'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { stageTopic, tableTopic } from '../../schemas/topics.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

const LANES = 3
const SETTINGS = { 'message.timestamp.type': 'CreateTime', 'retention.ms': '123456789', 'cleanup.policy': 'delete' }

test('a pipeline reads a topic that exists already, with its lanes, and leaves its settings alone', {
  timeout: 600_000,
}, async () => {
  const { env } = inject('stack')
  const topic = uniqueName('departures')
  const client = createKafkaClient(kafkaConfig(readConfig(CONNECTIONS, env)), 'test', silentLogger)
  const creator = await startKafkaAdmin(client)
  await creator.value.createTopic({ name: topic, partitions: LANES, replicas: 1, config: SETTINGS })
  await creator.stop()

  const { name, folder } = copyPipeline(FLIGHTS, (source) =>
    source.replace('event: {', `event: { topic: '${topic}', subject: '${topic}-value',`),
  )
  const run = await runPipeline(folder, env, { partitions: 5 })
  const outputs = (['predictions', 'features', 'dead-letters', 'labels', 'shadow'] as const).map((each) =>
    stageTopic(name, each),
  )
  const topics = [topic, tableTopic(name, 'weather'), ...outputs]
  expect(await run.admin.partitionCounts([...topics, `${name}.events`])).toEqual(
    new Map(topics.map((each) => [each, LANES])),
  )

  expect(await run.replay({ limit: 500, rate: 'max' }).exited).toBe(0)
  expect(await run.settled(500, 180_000)).toMatchObject({ predicted: 500, deadLetters: [], duplicates: 0 })
  const [lanes] = await run.clickhouse.rows(
    `SELECT arraySort(groupUniqArray(kafka_partition)) AS lanes, toUInt32(uniqExact(kafka_partition, origin_offset)) AS events
     FROM predictions FINAL WHERE pipeline = {name:String}`,
    { name },
  )
  expect(lanes).toEqual({ lanes: [0, 1, 2], events: 500 })

  const declare = spawnNode(['infra/cli/main.ts', 'topics', folder, '--allow-single-replica'], { env })
  expect(await declare.exited, declare.output()).toBe(0)
  expect(declare.output()).toMatch(new RegExp(`^not ours +${topic} \\(${LANES} partitions\\)$`, 'm'))
  expect(await run.admin.topicConfig(topic, Object.keys(SETTINGS))).toEqual(new Map(Object.entries(SETTINGS)))
})
