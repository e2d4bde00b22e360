import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { SET_BY_HAND } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import type { LaneTopics } from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { createBatchSender } from '../../infra/runtime/kafka/producer/batch-sender.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { initProducerIdRequest } from '../../infra/runtime/kafka/protocol/init-producer-id.ts'
import type { ProducedBatch } from '../../infra/runtime/kafka/protocol/produce.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import {
  claimLane,
  deadLetterRecords,
  type LanesOnKafka,
  laneOf,
  lanesOn,
  outputRecords,
  type Pipeline,
} from '../support/lanes-on-kafka.ts'
import { writeAs } from '../support/zombie.ts'

// What a claim finds in the log, and what it refuses to guess.

const { env } = inject('stack')
const config = kafkaConfig(readConfig(CONNECTIONS, env))
const DEADLINE_MS = 60_000
const SIGNAL = new AbortController().signal

let lanes: LanesOnKafka
beforeAll(async () => {
  lanes = await lanesOn(config.brokers)
})
afterAll(async () => {
  await lanes?.stop()
})

async function processorsLane(): Promise<{
  readonly pipeline: Pipeline
  readonly lane: LaneTopics
  readonly id: string
}> {
  const pipeline = await lanes.newPipeline()
  const lane = await laneOf(pipeline, pipeline.events, pipeline.features)
  return { pipeline, lane, id: lane.input.generation }
}

const letterOf = (topic: string, generation: string, offset: number) => ({
  topic,
  source_generation: generation,
  source_offset: offset,
})
const sourcesOf = async (topic: string): Promise<readonly number[]> =>
  (await lanes.outputs(topic)).map(({ sourceOffset }) => sourceOffset)

async function withAdmin<T>(
  work: (admin: ReturnType<ReturnType<typeof createKafkaClient>['native']['admin']>) => Promise<T>,
) {
  const admin = createKafkaClient(config, 'test', silentLogger).native.admin()
  await admin.connect()
  try {
    return await work(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Deletes the topic and makes it again; resolves when the broker, too, knows it as another one. */
async function makeAgain(name: string): Promise<void> {
  // the connections that are tested learn nothing of it
  const { connections, admin, stop } = await lanesOn(config.brokers)
  const idOf = async () => (await connections.topics([name])).get(name)?.id
  const before = await idOf()
  await admin.deleteTopic(name)
  await eventually(() => admin.createTopic({ name, partitions: 1, replicas: 1, config: {} }), {
    deadlineMs: DEADLINE_MS,
  })
  await eventually(
    async () => {
      expect(await idOf()).toMatch(/./)
      expect(await idOf()).not.toBe(before)
    },
    { deadlineMs: DEADLINE_MS },
  )
  await stop()
}

test('a new owner goes on behind the last output, and does nothing twice that has a dead letter', async () => {
  const { pipeline, lane, id } = await processorsLane()
  const claims = lanes.claims()
  const first = await claimLane(claims, lane)
  expect(first.tail).toMatchObject({ resumeAt: 0, askBelow: null })
  const commits = await Promise.all([
    first.write(null, outputRecords(id, [0, 1]), 2),
    first.write(deadLetterRecords([letterOf(pipeline.events, id, 2)]), outputRecords(id, [3, 4]), 5),
    first.write(deadLetterRecords([letterOf(pipeline.events, id, 6)]), null, 7),
  ])
  expect(first.bytesInFlight()).toBe(0)

  const next = await claimLane(claims, lane, 2, commits[0])
  expect(next.tail.resumeAt).toBe(5)
  expect([5, 6, 7].map((offset) => next.tail.ended(offset, null))).toEqual([false, true, false])
  expect(next.tail.askBelow).toMatchObject({ source: 7 })
  await expect(first.write(null, outputRecords(id, [5]), 6)).rejects.toMatchObject({
    code: 'lane_fenced',
    fate: 'retry',
  })

  // until the lane is past it, a commit leads back to the dead letter
  const before = await next.write(null, outputRecords(id, [5]), 6)
  const again = await claimLane(claims, lane, 6, before)
  expect(again.tail.ended(6, null)).toBe(true)
  const after = await again.write(null, outputRecords(id, [7]), 8)
  expect((await claimLane(claims, lane, 8, after)).tail).toMatchObject({ resumeAt: 8, askBelow: null })
  expect(await sourcesOf(pipeline.features)).toEqual([0, 1, 3, 4, 5, 7])
})

test('writes keep their order while dead letters are acknowledged before the outputs of their call', async () => {
  const { pipeline, lane, id } = await processorsLane()
  const writer = await claimLane(lanes.claims(), lane)
  const done: number[] = []
  const writes = Array.from({ length: 30 }, (_, index) => {
    const from = index * 3
    const letters = index % 3 === 1 ? deadLetterRecords([letterOf(pipeline.events, id, from + 2)]) : null
    const outputs = index % 5 === 4 ? null : outputRecords(id, [from, from + 1])
    return writer.write(letters, outputs, from + 3).then(() => done.push(index))
  })
  await Promise.all(writes)
  expect(done).toEqual(done.toSorted((a, b) => a - b))
  const offsets = await sourcesOf(pipeline.features)
  expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
  expect(offsets).toHaveLength(48)
  expect(await lanes.deadLetters(pipeline.deadLetters)).toHaveLength(10)
  await expect(writer.write(null, outputRecords(id, [0]), 1)).rejects.toMatchObject({ code: 'lane_out_of_order' })
})

test('many lanes are claimed at the same time', async () => {
  const made = await Promise.all(Array.from({ length: 8 }, () => processorsLane()))
  const claims = lanes.claims()
  const writers = await Promise.all(made.map(({ lane }) => claimLane(claims, lane)))
  await Promise.all(writers.map((writer, index) => writer.write(null, outputRecords(made[index]?.id ?? '', [0]), 1)))
})

test('who is not the owner any more claims nothing', async () => {
  const { lane, id } = await processorsLane()
  const claims = lanes.claims()
  const owner = await claimLane(claims, lane)
  const answers = [true, false]
  for (const confirms of [[false], answers]) {
    const claim = claims.claim(lane, { offset: 0, metadata: '' }, async () => confirms.shift() ?? false, SIGNAL)
    await expect(claim).rejects.toMatchObject({ code: 'lane_lost', fate: 'retry' })
  }
  await owner.write(null, outputRecords(id, [0]), 1)
})

test('a topology that was switched goes on by origin, both ways', async () => {
  const pipeline = await lanes.newPipeline()
  const ids = await pipeline.ids()
  const events = ids.get(pipeline.events) ?? ''
  const features = ids.get(pipeline.features) ?? ''
  const inference = await laneOf(pipeline, pipeline.features, pipeline.predictions)
  const fused = { ...(await laneOf(pipeline, pipeline.events, pipeline.predictions)), alsoFence: [pipeline.features] }
  const origin = { generation: events, of: (source: number) => source + 100 }

  const split = await claimLane(lanes.claims({ stage: 'inference' }), inference)
  const letter = { ...letterOf(pipeline.features, features, 3), origin_generation: events, origin_offset: 103 }
  const writes = [
    await split.write(null, outputRecords(features, [0, 1], origin), 2),
    await split.write(deadLetterRecords([{ ...letter, stage: 'inference' }]), null, 4),
  ]

  // processors, in the same group as fused, are ahead: their commit tells nothing of predictions
  const processors = await laneOf(pipeline, pipeline.events, pipeline.features)
  const ahead = await claimLane(lanes.claims(), processors)
  const commit = await ahead.write(null, outputRecords(events, [108, 109]), 110)

  const together = await claimLane(lanes.claims({ stage: 'fused' }), fused, 110, commit)
  expect(together.tail.resumeAt).toBe(102)
  expect([102, 103, 104].map((offset) => together.tail.ended(offset, null))).toEqual([false, true, false])
  await expect(split.write(deadLetterRecords([{ ...letter, stage: 'inference' }]), null, 5)).rejects.toMatchObject({
    code: 'lane_fenced',
  })
  const skipping = await together.write(null, outputRecords(events, [102, 104]), 105)
  const again = await claimLane(lanes.claims(), processors, 105, skipping)
  expect(again.tail.resumeAt).toBe(110)
  expect((await claimLane(lanes.claims({ stage: 'fused' }), fused, 105, skipping)).tail.resumeAt).toBe(105)

  const apart = await claimLane(lanes.claims({ stage: 'inference' }), inference, 2, writes[0])
  expect(apart.tail.resumeAt).toBe(2)
  const ended = [102, 103, 104, 105].map((offset, index) => apart.tail.ended(index + 2, { generation: events, offset }))
  expect(ended).toEqual([true, true, true, false])
  expect(apart.tail.askBelow).toMatchObject({ originGeneration: events, origin: 105 })
})

test('a log that is not the one of the commit stops the lane and says how to go on', async () => {
  const { pipeline, lane, id } = await processorsLane()
  const claims = lanes.claims()
  const commit = await (await claimLane(claims, lane)).write(null, outputRecords(id, [0, 1, 2]), 3)
  const repair = new RegExp(`repair ${pipeline.events} 0`)

  const truncated = commit.replace(/("out":\["[^"]+","[^"]+",)\d+/, '$199999')
  await expect(claimLane(claims, lane, 3, truncated)).rejects.toMatchObject({ code: 'output_truncated', fate: 'crash' })
  await expect(claimLane(claims, lane, 3, truncated)).rejects.toThrow(repair)
  const other = commit.replace(/"in":"[^"]+"/, '"in":"11111111-1111-1111-1111-111111111111"')
  await expect(claimLane(claims, lane, 3, other)).rejects.toMatchObject({ code: 'topic_recreated', fate: 'crash' })
  await expect(claimLane(claims, lane, 3, 'somebody else')).rejects.toMatchObject({ code: 'foreign_position' })

  await makeAgain(pipeline.features)
  await eventually(() => pipeline.ids(), { deadlineMs: DEADLINE_MS })
  await expect(claimLane(claims, lane, 3, commit)).rejects.toMatchObject({ code: 'topic_recreated', fate: 'crash' })
})

test('an output that was emptied stops the lane, unless nothing can be missing', async () => {
  const { pipeline, lane, id } = await processorsLane()
  const claims = lanes.claims()
  await (await claimLane(claims, lane)).write(null, outputRecords(id, [0, 1, 2]), 3)
  await withAdmin(async (admin) => {
    // loads the metadata that the next call wants
    await admin.fetchTopicOffsets(pipeline.features)
    await admin.deleteTopicRecords({ topic: pipeline.features, partitions: [{ partition: 0, offset: '-1' }] })
  })
  // the input is empty, so there is nothing that could have been written and not been committed
  await claimLane(claims, lane, 0)
  const writer = createIdempotentWriter({ connections: lanes.connections, clock: systemClock, logger: silentLogger })
  await writer.value.write([
    { topic: pipeline.events, partition: 0, records: [{ key: null, value: Buffer.from('e') }] },
  ])
  await expect(claimLane(claims, lane, 0)).rejects.toMatchObject({ code: 'output_truncated', fate: 'crash' })
  await claimLane(claims, lane, 1)
  await claimLane(claims, lane, 0, SET_BY_HAND)
  await writer.stop()
})

test('an output that is deleted and made again under the writer is not written', async () => {
  const { pipeline, lane, id } = await processorsLane()
  const writer = await claimLane(lanes.claims(), lane)
  await writer.write(null, outputRecords(id, [0, 1, 2]), 3)
  await makeAgain(pipeline.features)
  const { code, fate } = await writer.write(null, outputRecords(id, [3]), 4).then(
    () => ({ code: 'written', fate: 'none' }),
    (error) => error,
  )
  expect(['topic_recreated', 'output_truncated']).toContain(code)
  expect(fate).toBe('crash')
})

test('a foreign record in either tail stops the lane', async () => {
  for (const which of ['features', 'deadLetters'] as const) {
    const { pipeline, lane } = await processorsLane()
    const writer = createIdempotentWriter({ connections: lanes.connections, clock: systemClock, logger: silentLogger })
    const records = [{ key: null, value: Buffer.from('not ours') }]
    await writer.value.write([{ topic: pipeline[which], partition: 0, records }])
    await writer.stop()
    const claim = claimLane(lanes.claims(), lane)
    await expect(claim).rejects.toMatchObject({ code: 'foreign_record', fate: 'crash' })
    await expect(claim).rejects.toThrow(/holds a record at \d+ .*repair/)
  }
})

/** Connections on which the answer to each Produce may be changed, or the request not be sent. */
function altering(
  alter: (request: number, send: () => Promise<readonly ProducedBatch[]>) => Promise<readonly ProducedBatch[]>,
): KafkaConnections {
  let request = 0
  return {
    ...lanes.connections,
    send<T>(node: number, channel: Parameters<KafkaConnections['send']>[1], sent: KafkaRequest<T>): Promise<T> {
      const send = (): Promise<T> => lanes.connections.send(node, channel, sent)
      if (sent.name !== 'Produce') return send()
      return alter(request++, send as () => Promise<readonly ProducedBatch[]>) as Promise<T>
    },
  }
}

const RETRIABLE = [
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'REQUEST_TIMED_OUT',
  'NOT_LEADER_OR_FOLLOWER',
  'LEADER_NOT_AVAILABLE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'KAFKA_STORAGE_ERROR',
  'NETWORK_EXCEPTION',
  'CORRUPT_MESSAGE',
  'UNKNOWN_SERVER_ERROR',
] as const

test('every retriable answer once, to a batch that landed and to one that did not: nothing lost, nothing twice', async () => {
  const { pipeline, lane, id } = await processorsLane()
  const plan = RETRIABLE.flatMap((error) => [
    { error, sent: true },
    { error, sent: false },
  ])
  const connections = altering(async (request, send) => {
    // every third one, so that others are on their way behind it
    const fault = request % 3 === 2 ? plan.shift() : undefined
    if (fault === undefined) return await send()
    const made: ProducedBatch = {
      topic: pipeline.features,
      partition: 0,
      error: fault.error,
      message: null,
      baseOffset: -1,
      appendedAt: -1,
      recordErrors: [],
    }
    return fault.sent ? (await send()).map((answer) => ({ ...answer, ...made })) : [made]
  })
  const writer = await claimLane(lanes.claims({ connections }), lane)
  for (let round = 0; plan.length > 0; round++) {
    const offsets = Array.from({ length: 6 }, (_, index) => round * 6 + index)
    await Promise.all(offsets.map((offset) => writer.write(null, outputRecords(id, [offset]), offset + 1)))
  }
  const written = await sourcesOf(pipeline.features)
  expect(written).toEqual(Array.from({ length: written.length }, (_, index) => index))
  expect(written.length).toBeGreaterThanOrEqual(6)
})

test('the sequence goes on at 0 behind the last one, also within a batch', async () => {
  const { pipeline, id } = await processorsLane()
  const { producer } = await lanes.connections.sendToAny(initProducerIdRequest(null, 60_000))
  const sender = createBatchSender({
    connections: lanes.connections,
    clock: systemClock,
    compression: 'lz4',
    lingerMs: 0,
    requestTimeoutMs: 15_000,
    deliveryTimeoutMs: 60_000,
    maxBytesInFlight: 1_000_000,
  })
  const log = sender.open({
    topic: pipeline.features,
    partition: 0,
    producer,
    generation: null,
    logEnd: 0,
    trusted: () => true,
    firstSequence: 2 ** 31 - 8,
  })
  await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      log.append(
        outputRecords(
          id,
          [3, 4, 5].map((row) => index * 3 + row),
        ),
      ),
    ),
  )
  expect(await sourcesOf(pipeline.features)).toEqual(Array.from({ length: 24 }, (_, index) => index + 3))
  sender.close()
})

test('a broker recognises the last five batches; the sixth back is refused', async () => {
  const { pipeline } = await processorsLane()
  const { producer } = await lanes.connections.sendToAny(initProducerIdRequest(null, 60_000))
  for (let sequence = 0; sequence < 6; sequence++) {
    await writeAs(lanes.connections, pipeline.features, producer, sequence)
  }
  const again = async (sequence: number) => await writeAs(lanes.connections, pipeline.features, producer, sequence)
  expect(await again(1)).toMatchObject({ error: null, baseOffset: 1 })
  expect(await again(0)).toMatchObject({ error: 'OUT_OF_ORDER_SEQUENCE_NUMBER' })
})
