import kafkajs, { type Admin, type Kafka, type Producer } from 'kafkajs'
import { onTestFinished } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneHooks, LaneSource, PartitionPauses } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import { type LaneSourceOptions, startLaneSource } from '../../infra/runtime/kafka/consumer/start-lane-source.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from './eventually.ts'
import { uniqueName } from './unique-name.ts'

/** Between two appends of a load. */
const ROUND_MS = 20

/** What all consumers of a group were handed, in order: each offset once, none left out. */
export interface HandOuts {
  /** Next offset that a partition should hand out. */
  readonly next: Map<number, number>
  /** Whatever was handed out otherwise. */
  readonly wrong: string[]
  count: number
}

/** Where each partition of a ledger stands, by number. */
export function stands({ next }: HandOuts): readonly number[] {
  return [...next].sort(([a], [b]) => a - b).map(([, offset]) => offset)
}

export const handOuts = (): HandOuts => ({ next: new Map(), wrong: [], count: 0 })

export function note(ledger: HandOuts, who: string, { partition, offsets }: ColumnBatch): void {
  const first = offsets[0] as number
  const next = ledger.next.get(partition) ?? 0
  if (first !== next) ledger.wrong.push(`${who} was handed ${partition}:${first}, not ${next}`)
  ledger.next.set(partition, (offsets.at(-1) as number) + 1)
  ledger.count += offsets.length
}

export interface RunningSource {
  readonly name: string
  readonly source: LaneSource & PartitionPauses
  /** As they came: `joined 2`, `open 1@500`, `close 1 drained`, … */
  readonly events: readonly string[]
  /** Resolves with what ended the source; rejects never. */
  readonly ended: Promise<unknown>
  stop(): Promise<void>
}

export type SourceSettings = Partial<LaneSourceOptions> & {
  readonly brokers: readonly string[]
  readonly group: string
  readonly topic: string
  readonly hooks?: LaneHooks
}

/** A member of the group that nobody takes from yet; stopped when the test is over. */
export async function laneSource(name: string, settings: SourceSettings): Promise<RunningSource> {
  const { brokers, hooks = { open: async (_, { offset }) => offset }, ...options } = settings
  const config = { brokers: [...brokers] }
  const connections = createKafkaConnections({ config, clientId: name, logger: silentLogger, clock: systemClock })
  const events: string[] = []
  const ended = Promise.withResolvers<unknown>()
  const started = await startLaneSource({
    connections,
    clock: systemClock,
    logger: silentLogger,
    start: 'earliest',
    maxLaneBytes: 1_048_576,
    commitIntervalMs: 100,
    sessionTimeoutMs: 6_000,
    drainTimeoutMs: 20_000,
    ...options,
    hooks: {
      ...hooks,
      async open(partition, committed, signal) {
        const offset = await hooks.open(partition, committed, signal)
        events.push(`open ${partition}@${offset}`)
        return offset
      },
      async close(partition, how) {
        events.push(`close ${partition} ${how}`)
        await hooks.close?.(partition, how)
      },
    },
    observer: {
      joined: ({ generation }) => events.push(`joined ${generation}`),
      stalled: () => events.push('stalled'),
      lost: (partitions) => events.push(`lost ${partitions}`),
      commitRefused: ({ error }) => events.push(`commit refused ${error}`),
    },
  })
  let stopped: Promise<void> | null = null
  const stop = (): Promise<void> => {
    stopped ??= started.stop().then(() => connections.close())
    return stopped
  }
  onTestFinished(stop)
  return { name, source: started.value, events, ended: ended.promise, stop }
}

/** The same, with somebody who takes, works for a moment, and settles. */
export async function consume(name: string, ledger: HandOuts, settings: SourceSettings): Promise<RunningSource> {
  const running = await laneSource(name, settings)
  const { source } = running
  const ended = (async (): Promise<unknown> => {
    for (;;) {
      try {
        const batches = await source.take({ maxRows: 500, maxBytes: 1_000_000, lingerMs: 0 })
        if (batches.length === 0) return null
        for (const batch of batches) note(ledger, name, batch)
        await systemClock.sleep(2)
        for (const batch of batches) source.settle(batch)
      } catch (error) {
        return error
      }
    }
  })()
  return {
    ...running,
    ended,
    async stop() {
      await running.stop()
      await ended
    },
  }
}

export interface TestTopic {
  readonly topic: string
  readonly group: string
  readonly native: Kafka
  readonly admin: Admin
  readonly producer: Producer
  /** Appends so many records to each partition. */
  fill(perPartition: number, bytes?: number): Promise<void>
  /** Appends to all partitions, again and again, until it is stopped; resolves with how many to each. */
  load(perRound: number): { stop(): Promise<number> }
  /** Where each partition ends. */
  ends(): Promise<readonly number[]>
  committed(): Promise<ReadonlyMap<number, { offset: number; metadata: string }>>
}

/** Waits until the leader of each partition answers for it: before, a client's retry would write records twice. */
export async function leadersOf(admin: Admin, topic: string, partitions: number): Promise<void> {
  await eventually(
    async () => {
      const [metadata] = (await admin.fetchTopicMetadata({ topics: [topic] })).topics
      const led = metadata?.partitions.filter(({ leader }) => leader >= 0).length
      if (led !== partitions) throw new Error(`${led} of ${partitions} partitions have a leader`)
      await admin.fetchTopicOffsets(topic)
    },
    { deadlineMs: 60_000 },
  )
}

/** A topic of its own, and clients of another making to write and look with. */
export async function testTopic(
  brokers: readonly string[],
  shape: {
    readonly partitions: number
    readonly replicas?: number
    readonly config?: Readonly<Record<string, string>>
  },
): Promise<TestTopic> {
  const topic = uniqueName('lanes')
  const group = uniqueName('group')
  process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 60 }
  const native = new kafkajs.Kafka({ brokers: [...brokers], logLevel: kafkajs.logLevel.NOTHING, retry })
  const admin = native.admin()
  const producer = native.producer({ allowAutoTopicCreation: false })
  await Promise.all([admin.connect(), producer.connect()])
  onTestFinished(async () => {
    await Promise.all([admin.disconnect(), producer.disconnect()])
  })
  const configEntries = Object.entries(shape.config ?? {}).map(([name, value]) => ({ name, value }))
  const { partitions: numPartitions, replicas: replicationFactor = 1 } = shape
  await admin.createTopics({
    topics: [{ topic, numPartitions, replicationFactor, configEntries }],
    waitForLeaders: false,
  })
  await leadersOf(admin, topic, numPartitions)
  let written = 0

  async function fill(perPartition: number, bytes = 20): Promise<void> {
    const messages = Array.from({ length: perPartition }, (_, row) =>
      Array.from({ length: shape.partitions }, (__, partition) => ({ partition, value: Buffer.alloc(bytes, row) })),
    )
    if (perPartition > 0) await producer.send({ topic, acks: -1, messages: messages.flat() })
    written += perPartition
  }

  return {
    topic,
    group,
    native,
    admin,
    producer,
    fill,
    load(perRound) {
      let going = true
      const running = (async () => {
        while (going) {
          await fill(perRound)
          await systemClock.sleep(ROUND_MS)
        }
        return written
      })()
      return {
        stop() {
          going = false
          return running
        },
      }
    },
    async ends() {
      const offsets = await admin.fetchTopicOffsets(topic)
      return offsets.toSorted((a, b) => a.partition - b.partition).map(({ high }) => Number(high))
    },
    async committed() {
      const [answer] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
      return new Map(
        (answer?.partitions ?? []).map(({ partition, offset, metadata }) => [
          partition,
          { offset: Number(offset), metadata: metadata ?? '' },
        ]),
      )
    },
  }
}
