import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { ownPartition } from '../../infra/runtime/kafka/exactly-once/claim-epoch.ts'
import { createFencing } from '../../infra/runtime/kafka/exactly-once/fencing.ts'
import { produceRequest } from '../../infra/runtime/kafka/protocol/produce.ts'
import { wireWriter } from '../../infra/runtime/kafka/protocol/wire.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { type KafkaCluster, startKafkaCluster } from '../support/kafka-broker.ts'
import { claimLane, type LanesOnKafka, laneOf, lanesOn, outputRecords } from '../support/lanes-on-kafka.ts'
import { columnsOf } from '../support/record-columns.ts'
import { startZombie, writeAs } from '../support/zombie.ts'

// Fences on a broker that is killed.

const RECOVERY_MS = 60_000
const RESTART_MS = 180_000
const SIGNAL = new AbortController().signal

let cluster: KafkaCluster
let lanes: LanesOnKafka

beforeAll(async () => {
  cluster = await startKafkaCluster()
  lanes = await lanesOn(cluster.addresses)
})
afterAll(async () => {
  await lanes?.stop()
  await cluster?.stop()
})

test('who is fenced stays fenced when the broker is killed and started again; the owner goes on', {
  timeout: RESTART_MS,
}, async () => {
  const pipeline = await lanes.newPipeline()
  const lane = await laneOf(pipeline, pipeline.events, pipeline.features)
  const claims = lanes.claims()
  const { generation } = lane.input
  const zombie = await claimLane(claims, lane)
  await zombie.write(null, outputRecords(generation, [0]), 1)
  const owner = await claimLane(claims, lane)
  await cluster.brokers[0]?.kill()
  const written = owner.write(null, outputRecords(generation, [1]), 2)
  await cluster.brokers[0]?.start()
  await written
  await expect(zombie.write(null, outputRecords(generation, [1]), 2)).rejects.toMatchObject({ code: 'lane_fenced' })
  expect((await lanes.outputs(pipeline.features)).map(({ sourceOffset }) => sourceOffset)).toEqual([0, 1])
})

test('when the epochs of an id are used up, holders of the old one are fenced before another is taken', {
  timeout: RESTART_MS,
}, async () => {
  const { features: topic } = await lanes.newPipeline()
  const target = { transactionalId: `millrace/${topic}/0`, topic, partition: 0 }
  const fencing = createFencing({
    connections: lanes.connections,
    logReader: lanes.logReader,
    clock: systemClock,
    transactionTimeoutMs: 30_000,
    patienceMs: 30_000,
  })
  const { id } = await fencing.bumpEpoch(target, SIGNAL)
  await storeEpoch(target.transactionalId, id, 32_498)
  await cluster.brokers[0]?.kill()
  await cluster.brokers[0]?.start()
  const last = await eventually(() => fencing.bumpEpoch(target, SIGNAL), { deadlineMs: RECOVERY_MS })
  expect(last).toEqual({ id, epoch: 32_499 })
  const zombie = startZombie(cluster.addresses, target.topic, last)
  await zombie.awake
  const { producer, marker } = await ownPartition(fencing, target, await fencing.bumpEpoch(target, SIGNAL), SIGNAL)
  expect(producer.id).not.toBe(id)
  expect(producer.epoch).toBeLessThan(32_500)
  const { accepted, error } = await zombie.refused
  expect(error).toBe('INVALID_PRODUCER_EPOCH')
  expect(accepted.filter((offset) => offset > marker)).toEqual([])
  expect((await writeAs(lanes.connections, target.topic, producer, 0)).error).toBeNull()
})

/*
 * A record of `__transaction_state`, which coordinators read when they start:
 *
 *   key    version INT16 = 0, transactional_id STRING
 *   value  version INT16 = 0, producer_id INT64, producer_epoch INT16, timeout_ms INT32, status INT8 (0 = empty),
 *          partitions NULLABLE_ARRAY, last_update INT64, start INT64
 */
async function storeEpoch(transactionalId: string, id: bigint, epoch: number): Promise<void> {
  const config = { brokers: cluster.addresses }
  // brokers let no other client write to their own topics
  const clientId = '__admin_client'
  const connections = createKafkaConnections({ config, clientId, logger: silentLogger, clock: systemClock })
  const topic = '__transaction_state'
  const { partitions = [] } = (await connections.topics([topic])).get(topic) ?? {}
  const key = wireWriter().int16(0).string(transactionalId).end()
  const holds = await Promise.all(partitions.map(({ partition }) => hasKey(topic, partition, key)))
  const partition = holds.indexOf(true)
  const now = Date.now()
  const value = wireWriter()
    .int16(0)
    .int64(id)
    .int16(epoch)
    .int32(30_000)
    .int8(0)
    .array(null, () => {})
  const record = { timestamp: now, key, value: value.int64(now).int64(now).end(), headers: [] }
  const batch = encodeBatch(columnsOf([record]), { producer: null })
  const leader = connections.leaderOf(topic, partition) ?? 0
  const [produced] = await connections.send(leader, 'produce', produceRequest([{ topic, partition, batch }], 5_000))
  expect(produced?.error).toBeNull()
  await connections.close()
}

async function hasKey(topic: string, partition: number, key: Buffer): Promise<boolean> {
  const { start, end } = await lanes.logReader.range(topic, partition)
  for await (const set of lanes.logReader.read(topic, partition, start, end)) {
    for (let row = 0; row < set.length; row++) if (sliceAt(set.keys, row)?.equals(key)) return true
  }
  return false
}
