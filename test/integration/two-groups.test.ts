import { expect, inject, onTestFinished, test } from 'vitest'
import { systemClock as clock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import type { LaneSource } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import { startLaneSource } from '../../infra/runtime/kafka/consumer/start-lane-source.ts'
import { silentLogger as logger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { testTopic } from '../support/lane-consumers.ts'

const PARTITIONS = 4
const ROUNDS = 3
// below the minute after which a coordinator gives up those that have not joined
const DEADLINE = { deadlineMs: 50_000 }

test('two processes, each a member of the same groups: every group has its members, whoever joined which one first', async () => {
  const brokers = readConfig(CONNECTIONS, inject('stack').env).kafkaBrokers
  const topics = await Promise.all([1, 2, 3, 4].map(() => testTopic(brokers, { partitions: PARTITIONS, config: {} })))

  async function member(name: string, order: typeof topics): Promise<{ sources: LaneSource[]; stop(): Promise<void> }> {
    const connections = createKafkaConnections({ config: { brokers }, clientId: name, logger, clock })
    const started = await Promise.all(
      order.map(({ group, topic }) =>
        startLaneSource({
          connections,
          clock,
          logger,
          group,
          topic,
          start: 'earliest',
          maxLaneBytes: 1_048_576,
          commitIntervalMs: 100,
          hooks: { open: async (_, { offset }) => offset },
        }),
      ),
    )
    let stopped: Promise<void> | null = null
    const stop = async (): Promise<void> => {
      await Promise.all(started.map((each) => each.stop()))
      await connections.close()
    }
    const once = () => (stopped ??= stop())
    onTestFinished(once)
    return { sources: started.map(({ value }) => value), stop: once }
  }

  await member('first', topics)
  for (let round = 0; round < ROUNDS; round++) {
    const second = await member('second', topics.toReversed())
    const lanes = () => second.sources.map((source) => source.positions().size)
    await eventually(() => expect(lanes()).toEqual(topics.map(() => PARTITIONS / 2)), DEADLINE)
    await second.stop()
  }
})
