import { setTimeout as delay } from 'node:timers/promises'
import { expect, inject, onTestFinished, test } from 'vitest'
import { createSupervisor } from '../../infra/local/supervisor.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { createLogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { hopFaults, killHops } from '../support/executors/killed-hops.ts'
import { isRefused, numberedEvent } from '../support/executors/numbered-events.ts'
import { leadersOf, type TestTopic, testTopic } from '../support/lane-consumers.ts'
import { checkLane } from '../support/ledger/lane-ledger.ts'
import { readLane } from '../support/ledger/ledger.ts'
import { type SeededRandom, seededRandom } from '../support/seeded-random.ts'

// Batches of one lane that are finished in another order than they were taken in, in processes that are killed meanwhile.

const SEED = 4_711
const PARTITIONS = 4
/** Of each partition, at the start. */
const BACKLOG = 3_000
const ROUND_MS = 10
const SETTLED_WITHIN_MS = 30_000
const KILLS = { anywhere: 4, whileWaiting: 5 }
/** Batches, at least, that are finished before an earlier one of their lane: about 550 are. */
const OVERTAKING = 200

/** Fills all lanes alike, in rounds of changing size; `stop` answers how many records each has. */
function startFeed({ topic, producer }: TestTopic, random: SeededRandom): { stop(): Promise<number> } {
  const stopping = new AbortController()
  const { signal } = stopping
  async function send(from: number, count: number): Promise<void> {
    const messages = Array.from({ length: PARTITIONS * count }, (_, row) => {
      const partition = row % PARTITIONS
      return { partition, value: numberedEvent(partition, from + Math.floor(row / PARTITIONS)) }
    })
    await producer.send({ topic, acks: -1, messages })
  }
  const running = (async () => {
    await send(0, BACKLOG)
    let sent = BACKLOG
    while (!signal.aborted) {
      const count = random.chance(0.05) ? random.between(100, 400) : random.between(1, 20)
      await send(sent, count)
      sent += count
      await delay(ROUND_MS, undefined, { signal }).catch(() => {})
    }
    return sent
  })()
  return {
    stop() {
      stopping.abort()
      return running
    },
  }
}

test('a fast and a slow executor out of order on every lane, killed again and again: each record ends once, in order', {
  timeout: 120_000,
}, async () => {
  const random = seededRandom(SEED)
  const brokers = readConfig(CONNECTIONS, inject('stack').env).kafkaBrokers
  const input = await testTopic(brokers, { partitions: PARTITIONS })
  const [output, deadLetters] = [`${input.topic}.output`, `${input.topic}.dead-letters`]
  const topics = [output, deadLetters].map((topic) => ({ topic, numPartitions: PARTITIONS, replicationFactor: 1 }))
  await input.admin.createTopics({ topics, waitForLeaders: false })
  for (const { topic } of topics) await leadersOf(input.admin, topic)
  const supervisor = createSupervisor()
  onTestFinished(() => supervisor.stop())

  const feed = startFeed(input, random.fork('feed'))
  const faults = hopFaults(random.fork('faults'), KILLS)
  const settings = {
    brokers,
    group: input.group,
    input: input.topic,
    output,
    deadLetters,
    stage: 'inference',
    sessionTimeoutMs: 1_500,
    handler: 'test/support/executors/numbered-events.ts',
  }
  const logFile = `.millrace/test-logs/${input.topic}.log`
  const { killed, running } = await killHops(supervisor, settings, { faults, random, logFile }).finally(feed.stop)
  const sent = await feed.stop()
  const positions = async (): Promise<void> => {
    const committed = await input.committed()
    const at = Array.from({ length: PARTITIONS }, (_, partition) => committed.get(partition)?.offset)
    expect(at).toEqual(await input.ends())
  }
  await eventually(positions, { deadlineMs: SETTLED_WITHIN_MS })
  for (const run of running) {
    await run.stop()
    expect(await run.exited, run.lastError ?? '').toBe(0)
  }

  const config = { brokers }
  const connections = createKafkaConnections({ config, clientId: 'ledger', logger: silentLogger, clock: systemClock })
  onTestFinished(() => connections.close())
  const reader = createLogReader({ connections, clock: systemClock })
  const events = (await connections.topics([input.topic])).get(input.topic)?.id ?? ''
  const names = { events: input.topic, features: null, predictions: output, deadLetters }
  const refused = Array.from({ length: sent }, (_, number) => number).filter(isRefused)
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const logs = await readLane(reader, names, partition, new Map([[input.topic, 'events']]), { events })
    const { examples, found, ...counts } = checkLane(logs)
    expect(examples, JSON.stringify(found)).toEqual([])
    expect([...logs.deadLetters.sources]).toEqual(refused)
    expect(counts).toMatchObject({ events: sent, predictions: sent - refused.length, deadLetters: refused.length })
  }

  const overtaking = [...killed, ...running].reduce((sum, run) => sum + run.overtaking, 0)
  expect(overtaking).toBeGreaterThan(OVERTAKING)
  expect(killed.length).toBe(faults.length)
  expect(killed.filter(({ reached }) => reached).length).toBe(faults.filter(({ kind }) => kind === 'at-point').length)
  expect(killed.filter(({ waiting }) => waiting > 0).length).toBeGreaterThanOrEqual(KILLS.whileWaiting)
})
