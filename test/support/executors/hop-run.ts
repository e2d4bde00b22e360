import { setTimeout as delay } from 'node:timers/promises'
import { expect, onTestFinished } from 'vitest'
import { createSupervisor } from '../../../infra/local/supervisor.ts'
import { systemClock } from '../../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../../infra/runtime/kafka/connections/kafka-connections.ts'
import { createLogReader } from '../../../infra/runtime/kafka/log-reader.ts'
import type { RecordSet } from '../../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import { silentLogger } from '../../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../eventually.ts'
import { leadersOf, type TestTopic, testTopic } from '../lane-consumers.ts'
import type { LaneLogs } from '../ledger/lane-ledger.ts'
import { readLane } from '../ledger/ledger.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { HopSettings } from './hop-settings.ts'
import { hopFaults, type KilledHops, killHops } from './killed-hops.ts'

export interface HopLoad {
  readonly partitions: number
  /** Records of each partition at the start. */
  readonly backlog: number
  readonly roundMs: number
  /** The record of that number in its partition, counted from 0. */
  record(partition: number, number: number): { readonly key?: string; readonly value: Buffer }
}

export interface HopRunReport extends KilledHops {
  /** Records of each partition. */
  readonly sent: number
  readonly faults: ReturnType<typeof hopFaults>
  readonly logFile: string
  /** One for each partition. */
  readonly lanes: readonly LaneLogs[]
  /** What is in the output, lane by lane. */
  outputs(): AsyncIterable<RecordSet>
}

const SETTLED_WITHIN_MS = 120_000

/** Fills all lanes alike, in rounds of changing size; `stop` answers how many records each has. */
function startFeed({ topic, producer }: TestTopic, load: HopLoad, random: SeededRandom): { stop(): Promise<number> } {
  const { partitions, backlog, roundMs, record } = load
  const stopping = new AbortController()
  const { signal } = stopping
  async function send(from: number, count: number): Promise<void> {
    const messages = Array.from({ length: partitions * count }, (_, row) => {
      const partition = row % partitions
      return { partition, ...record(partition, from + Math.floor(row / partitions)) }
    })
    await producer.send({ topic, acks: -1, messages })
  }
  const running = (async () => {
    await send(0, backlog)
    let sent = backlog
    while (!signal.aborted) {
      const count = random.chance(0.05) ? random.between(100, 400) : random.between(1, 20)
      await send(sent, count)
      sent += count
      await delay(roundMs, undefined, { signal }).catch(() => {})
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

/** Two members of a group on topics of their own, killed again and again under a load, until everything is through. */
export async function runKilledHops(options: {
  readonly brokers: readonly string[]
  readonly load: HopLoad
  readonly kills: Parameters<typeof hopFaults>[1]
  readonly random: SeededRandom
  readonly handler: Pick<HopSettings, 'handler' | 'given'>
}): Promise<HopRunReport> {
  const { brokers, load, random } = options
  const { partitions } = load
  const input = await testTopic(brokers, { partitions })
  const [output, deadLetters] = [`${input.topic}.output`, `${input.topic}.dead-letters`]
  const topics = [output, deadLetters].map((topic) => ({ topic, numPartitions: partitions, replicationFactor: 1 }))
  await input.admin.createTopics({ topics, waitForLeaders: false })
  for (const { topic } of topics) await leadersOf(input.admin, topic, partitions)
  const supervisor = createSupervisor()
  onTestFinished(() => supervisor.stop())

  const feed = startFeed(input, load, random.fork('feed'))
  const faults = hopFaults(random.fork('faults'), options.kills)
  const settings = {
    ...{ brokers, group: input.group, input: input.topic, output, deadLetters },
    ...{ stage: 'inference', sessionTimeoutMs: 1_500, ...options.handler },
  }
  const logFile = `.millrace/test-logs/${input.topic}.log`
  const { killed, running } = await killHops(supervisor, settings, { faults, random, logFile }).finally(feed.stop)
  const sent = await feed.stop()
  const positions = async (): Promise<void> => {
    const committed = await input.committed()
    const at = Array.from({ length: partitions }, (_, partition) => committed.get(partition)?.offset)
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
  const lanes: LaneLogs[] = []
  for (let partition = 0; partition < partitions; partition++) {
    lanes.push(await readLane(reader, names, partition, new Map([[input.topic, 'events']]), { events }))
  }
  async function* outputs(): AsyncIterable<RecordSet> {
    for (let partition = 0; partition < partitions; partition++) {
      const { start, end } = await reader.range(output, partition)
      yield* reader.read(output, partition, start, end)
    }
  }
  return { killed, running, sent, faults, logFile, lanes, outputs }
}
