import type { Batch, Consumer } from 'kafkajs'
import type { Clock } from '../clock.ts'
import { fatal, type MillraceError } from '../errors.ts'
import type { BatchSource, TakeLimits } from './batch-source.ts'
import type { KafkaAdmin } from './kafka-admin.ts'
import type { KafkaClient } from './kafka-client.ts'
import { kafkaError } from './kafka-errors.ts'
import { createLane, enqueue, type Lane, positionOf, readyInMs, settleIn, takeFrom } from './lanes.ts'
import type { RecordBatch } from './record-batch.ts'

export interface KafkaSourceOptions {
  readonly client: KafkaClient
  readonly admin: KafkaAdmin
  readonly clock: Clock
  readonly group: string
  readonly topic: string
  /** The topic's id now. */
  readonly generation: string
  /** A partition is paused while more than this is queued for it. */
  readonly maxLaneBytes: number
  readonly commitIntervalMs: number
  readonly sessionTimeoutMs: number
  /**
   * Where a partition begins when it is assigned. By default at the group's committed offset, for a new group at the
   * log's start.
   */
  readonly startAt?: (partition: number) => Promise<number>
}

/** A source whose reader keeps its own positions. */
export interface RewindableSource extends BatchSource {
  /** Fetches every partition again from `startAt`; batches that are out, and what is queued, are forgotten at once. */
  rewind(): Promise<void>
  /** Of each assigned partition whose start is known, the offset below which everything is settled. */
  positions(): ReadonlyMap<number, number>
}

/** After this long without any sign of the consumer's own loop it is taken for dead. */
const STALL_MS = 120_000
/** How often a fetch may come back from another position than the one asked for before it counts as lost. */
const MAX_STRAY_FETCHES = 50
const FETCH_WAIT_MS = 100
const PARTITION_FETCH_BYTES = 1_048_576
const FETCH_BYTES = 16_777_216

/**
 * At least once, on the stock consumer. Its callback only enqueues and returns; the lanes hold what it fetched. Each join
 * of the group makes new lanes: what the old ones had queued is fetched again from the committed offset, and what was
 * still being worked on is recognised as stale when it is settled.
 */
export async function startKafkaSource(
  options: KafkaSourceOptions,
): Promise<{ readonly value: RewindableSource; stop(): Promise<void> }> {
  const { client, admin, clock, group, topic, generation } = options
  const logger = client.logger.child({ group, topic })
  const consumer: Consumer = client.native.consumer({
    groupId: group,
    sessionTimeout: options.sessionTimeoutMs,
    heartbeatInterval: Math.floor(options.sessionTimeoutMs / 6),
    rebalanceTimeout: 60_000,
    maxWaitTimeInMs: FETCH_WAIT_MS,
    maxBytesPerPartition: PARTITION_FETCH_BYTES,
    maxBytes: FETCH_BYTES,
    allowAutoTopicCreation: false,
    retry: { initialRetryTime: 100, maxRetryTime: 2_000, retries: 8, restartOnFailure: async () => true },
  })

  let lanes = new Map<number, Lane>()
  let failure: MillraceError | null = null
  let stopped = false
  let wake = (): void => {}
  let lastSign = clock.monotonic()
  let firstLane = 0

  const fail = (error: MillraceError): void => {
    failure ??= error
    wake()
  }
  const sign = (): void => {
    lastSign = clock.monotonic()
  }
  const endIntake = (): void => {
    stopped = true
    wake()
  }
  const current = (lane: Lane): boolean => lanes.get(lane.partition) === lane

  async function committedStart(partition: number): Promise<number | null> {
    return (await admin.committed(group, topic)).get(partition) ?? null
  }

  async function locate(lane: Lane): Promise<void> {
    if (options.startAt === undefined) return
    const start = await options.startAt(lane.partition)
    if (!current(lane)) return
    lane.expected = start
    consumer.seek({ topic, partition: lane.partition, offset: String(start) })
  }

  async function relocate(partitions: readonly number[]): Promise<void> {
    lanes = new Map(partitions.map((partition) => [partition, createLane(partition, generation)]))
    if (partitions.length > 0) consumer.resume([{ topic, partitions: [...partitions] }])
    await Promise.all([...lanes.values()].map(locate))
  }

  async function receive(batch: Batch & { readonly fetchedOffset?: string }): Promise<void> {
    const lane = lanes.get(batch.partition)
    if (lane === undefined || stopped || batch.messages.length === 0) return
    const from = Number(batch.fetchedOffset)
    if (lane.expected === null) {
      // its start is still being asked for; then it is sought, and this is fetched again if it lies behind
      if (options.startAt !== undefined) return
      const start = (await committedStart(batch.partition)) ?? from
      if (!current(lane)) return
      lane.expected ??= start
    }
    if (from !== lane.expected) {
      lane.strayFetches += 1
      if (lane.strayFetches > MAX_STRAY_FETCHES) {
        const where = `${topic}/${batch.partition}`
        fail(
          fatal(
            'position_lost',
            `${where}: offset ${lane.expected} cannot be read, the log offers ${from}; not skipped`,
          ),
        )
      }
      consumer.seek({ topic, partition: lane.partition, offset: String(lane.expected) })
      return
    }
    lane.strayFetches = 0
    enqueue(lane, batch.messages, Number(batch.lastOffset()) + 1, clock.monotonic())
    if (!lane.paused && lane.queuedBytes > options.maxLaneBytes) {
      lane.paused = true
      consumer.pause([{ topic, partitions: [lane.partition] }])
    }
    wake()
  }

  async function commit(): Promise<void> {
    const moved = [...lanes.values()].filter((lane) => lane.settledTo !== null && lane.settledTo !== lane.committedTo)
    if (moved.length === 0) return
    const positions = moved.map((lane) => ({ lane, offset: lane.settledTo ?? 0 }))
    await consumer.commitOffsets(
      positions.map(({ lane, offset }) => ({ topic, partition: lane.partition, offset: String(offset) })),
    )
    for (const { lane, offset } of positions) lane.committedTo = offset
  }

  async function commitOrLog(): Promise<void> {
    try {
      await commit()
    } catch (error) {
      // the offsets stay uncommitted and go with the next round; meanwhile a restart would repeat work, not lose it
      logger.warn({ error: (error as Error).message }, 'commit failed')
    }
  }

  const { events } = consumer
  consumer.on(events.GROUP_JOIN, ({ payload }) => {
    sign()
    const partitions = payload.memberAssignment[topic] ?? []
    logger.info({ partitions }, 'partitions assigned')
    relocate(partitions).catch((error: unknown) => fail(kafkaError(error, `the start of ${topic}`)))
  })
  consumer.on(events.REBALANCING, () => void commitOrLog())
  consumer.on(events.FETCH, sign)
  consumer.on(events.HEARTBEAT, sign)
  consumer.on(events.END_BATCH_PROCESS, ({ payload }) => {
    // transaction markers alone: nothing to hand out, yet the position moved
    const lane = lanes.get(payload.partition)
    if (payload.batchSize === 0 && lane !== undefined && lane.expected !== null) {
      lane.expected = Math.max(lane.expected, Number(payload.lastOffset) + 1)
    }
  })
  consumer.on(events.CRASH, ({ payload }) => {
    sign()
    if (!payload.restart) fail(kafkaError(payload.error, `consuming ${topic}`))
  })

  let commitRound: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    commitRound = commitRound.then(commitOrLog)
    if (clock.monotonic() - lastSign > STALL_MS) {
      fail(fatal('consumer_stalled', `no sign of the consumer of ${topic} for ${STALL_MS / 1_000} s`))
    }
  }, options.commitIntervalMs)

  const stop = async (): Promise<void> => {
    endIntake()
    clearInterval(timer)
    await commitRound
    if (failure === null) await commitOrLog()
    await consumer.disconnect()
  }

  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: 8,
      eachBatch: async ({ batch, heartbeat }) => {
        await receive(batch)
        await heartbeat()
      },
    })
  } catch (error) {
    await stop()
    throw kafkaError(error, `joining group ${group}`)
  }

  function takeNow(limits: TakeLimits): RecordBatch[] {
    const order = [...lanes.values()]
    const turn = order.length === 0 ? 0 : firstLane++ % order.length
    const taken: RecordBatch[] = []
    let rows = limits.maxRows
    let bytes = limits.maxBytes
    for (const lane of [...order.slice(turn), ...order.slice(0, turn)]) {
      const batch = takeFrom(topic, lane, { maxRows: rows, maxBytes: bytes }, clock.monotonic())
      if (batch === null) continue
      taken.push(batch)
      rows -= batch.length
      bytes -= batch.bytes
      if (lane.paused && lane.queuedBytes < options.maxLaneBytes / 2) {
        lane.paused = false
        consumer.resume([{ topic, partitions: [lane.partition] }])
      }
    }
    return taken
  }

  return {
    stop,
    value: {
      async take(limits) {
        for (;;) {
          if (failure !== null) throw failure
          if (stopped) return []
          const inMs = readyInMs(lanes.values(), limits, clock.monotonic())
          if (inMs === 0) {
            const taken = takeNow(limits)
            if (taken.length > 0) return taken
          }
          await new Promise<void>((resolve) => {
            const timeout = inMs === null || inMs === 0 ? null : setTimeout(resolve, inMs)
            wake = () => {
              if (timeout !== null) clearTimeout(timeout)
              resolve()
            }
          })
        }
      },
      settle(batch, count, holdMs) {
        const lane = lanes.get(batch.partition)
        if (lane !== undefined && settleIn(lane, batch, count, clock.monotonic() + holdMs)) wake()
      },
      endIntake,
      queuedBytes: () => [...lanes.values()].reduce((bytes, lane) => bytes + lane.queuedBytes, 0),
      owns: (batch) => lanes.get(batch.partition)?.taken === batch,
      rewind: () => relocate([...lanes.keys()]),
      positions: () =>
        new Map([...lanes.values()].map((lane) => [lane.partition, positionOf(lane)] as const).filter(isKnown)),
    },
  }
}

function isKnown(entry: readonly [number, number | null]): entry is readonly [number, number] {
  return entry[1] !== null
}
