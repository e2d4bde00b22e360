import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock as clock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { addPartitionToTxnRequest } from '../../infra/runtime/kafka/protocol/add-partitions-to-txn.ts'
import { abortTxnRequest } from '../../infra/runtime/kafka/protocol/end-txn.ts'
import { fetchRequest } from '../../infra/runtime/kafka/protocol/fetch.ts'
import { findCoordinatorRequest } from '../../infra/runtime/kafka/protocol/find-coordinator.ts'
import { heartbeatRequest } from '../../infra/runtime/kafka/protocol/heartbeat.ts'
import { initProducerIdRequest } from '../../infra/runtime/kafka/protocol/init-producer-id.ts'
import { joinGroupRequest } from '../../infra/runtime/kafka/protocol/join-group.ts'
import { listOffsetsRequest } from '../../infra/runtime/kafka/protocol/list-offsets.ts'
import { offsetCommitRequest } from '../../infra/runtime/kafka/protocol/offset-commit.ts'
import { offsetFetchRequest } from '../../infra/runtime/kafka/protocol/offset-fetch.ts'
import { produceRequest } from '../../infra/runtime/kafka/protocol/produce.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { syncGroupRequest } from '../../infra/runtime/kafka/protocol/sync-group.ts'
import { encodeBatch } from '../../infra/runtime/kafka/record-batches/encode-batch.ts'
import { silentLogger as logger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { FAULTY_APIS } from '../support/kafka-faults/apis.ts'
import { createBrokerErrors, everyRetriableError, type ScriptedError } from '../support/kafka-faults/broker-errors.ts'
import { type ProxiedBroker, startProxiedBroker } from '../support/proxied-broker.ts'
import { columnsOf } from '../support/record-columns.ts'

const TOPIC = 'errors'
/** A transaction's end is a record. */
const IN_TRANSACTION = 'in-transaction'
const BROKER = 1
const READY = { deadlineMs: 60_000 }
const MEMBER = { group: 'g', generation: -1, member: '', instance: null }
const PRODUCER = { id: 0n, epoch: 0 }

const errors = createBrokerErrors(everyRetriableError())
let broker: ProxiedBroker
let connections: KafkaConnections
beforeAll(async () => {
  broker = await startProxiedBroker({ relay: errors.relay })
  const config = (brokers: string) => kafkaConfig(readConfig(CONNECTIONS, { KAFKA_BROKERS: brokers }))
  const admin = await startKafkaAdmin(createKafkaClient(config(broker.direct), 'test', logger))
  for (const name of [TOPIC, IN_TRANSACTION]) {
    await eventually(() => admin.value.createTopic({ name, partitions: 1, replicas: 1, config: {} }), READY)
    // the leader answers for it: from here on a produced batch is in the log, whatever is answered
    await eventually(() => admin.value.ranges(name), READY)
  }
  await admin.stop()
  const direct = createKafkaConnections({ config: config(broker.direct), clientId: 'test', logger, clock })
  // asking for them makes them
  await eventually(() => direct.coordinator('group', 'g'), READY)
  await eventually(() => direct.coordinator('transaction', 't'), READY)
  await direct.close()
  connections = createKafkaConnections({ config: config(broker.proxied), clientId: 'test', logger, clock })
  await connections.topics([])
})
afterAll(async () => {
  await connections.close()
  await broker.stop()
})

const record = columnsOf([{ timestamp: 0, key: null, value: Buffer.from('v'), headers: [] }])
const batch = () => encodeBatch(record, { producer: null })
const fetching = { isolation: 'read_uncommitted', maxWaitMs: 100, minBytes: 1, maxBytes: 65_536 } as const
const join = { ...MEMBER, sessionTimeoutMs: 6_000, rebalanceTimeoutMs: 6_000, protocol: 'p', metadata: Buffer.alloc(0) }

/** One request of each API, and the error in its answer. */
const ASK: Readonly<Record<string, () => Promise<string | null | undefined>>> = {
  Produce: async () => (await send(produceRequest([{ topic: TOPIC, partition: 0, batch: batch() }], 5_000)))[0]?.error,
  Fetch: async () =>
    (
      await send(
        fetchRequest([{ topic: TOPIC, partitions: [{ partition: 0, offset: 0, maxBytes: 65_536 }] }], fetching),
      )
    ).partitions[0]?.error,
  ListOffsets: async () => (await send(listOffsetsRequest(TOPIC, [0], 'latest', 'read_uncommitted')))[0]?.error,
  OffsetCommit: async () =>
    (await send(offsetCommitRequest(MEMBER, TOPIC, [{ partition: 0, offset: 1, metadata: 'm' }]))).get(0),
  OffsetFetch: async () => (await send(offsetFetchRequest('g', TOPIC, [0]))).error,
  FindCoordinator: async () => (await send(findCoordinatorRequest('group', 'g'))).error,
  JoinGroup: async () => (await send(joinGroupRequest(join))).error,
  Heartbeat: () => send(heartbeatRequest(MEMBER)),
  SyncGroup: async () => (await send(syncGroupRequest(MEMBER, [], 1_000))).error,
  InitProducerId: async () => (await send(initProducerIdRequest('t', 10_000))).error,
  AddPartitionsToTxn: () => send(addPartitionToTxnRequest('t', PRODUCER, IN_TRANSACTION, 0)),
  EndTxn: () => send(abortTxnRequest('t', PRODUCER)),
}
/** Once: `sendToAny` would ask again after a lost connection. */
const send = <T>(request: KafkaRequest<T>): Promise<T> => connections.send(BROKER, 'control', request)

test('there is a request for each API', () => {
  expect(Object.keys(ASK).sort()).toEqual(FAULTY_APIS.map(({ name }) => name).sort())
})

test.each(FAULTY_APIS.map(({ name }) => name))('%s: each error once, then what the broker says', async (api) => {
  const ask = ASK[api]
  if (ask === undefined) throw new Error(`nothing asks ${api}`)
  const scripted = everyRetriableError([api])
  const told: (string | null | undefined)[] = []
  for (let left = scripted.length; left > 0; left--) told.push(await ask())
  expect(told).toEqual(scripted.map(({ error }) => error))
  // a coordinator that was asked for the first time has to load
  const codes = scripted.map(({ error }) => error)
  await eventually(async () => expect(codes).not.toContain(await ask()), READY)
  const left = errors.left().filter((each: ScriptedError) => each.api === api)
  expect(left).toEqual([])
})

test('a refused batch is not in the log, one that was appended nevertheless is', async () => {
  const [latest] = await send(listOffsetsRequest(TOPIC, [0], 'latest', 'read_uncommitted'))
  const appendedAnyway = everyRetriableError(['Produce']).filter(({ when }) => when === 'after').length
  expect(latest?.offset).toBe(appendedAnyway + 1)
})

test('answers keep the order of requests when one is not asked of the broker', async () => {
  const script: ScriptedError[] = [{ api: 'ListOffsets', error: 'NOT_LEADER_OR_FOLLOWER', when: 'before' }]
  const sent: Buffer[] = []
  const asked: Buffer[] = []
  const relay = createBrokerErrors(script).relay((direction, bytes) =>
    (direction === 'toClient' ? sent : asked).push(bytes),
  )
  const frame = (key: number, version: number, correlation: number, body: Buffer): Buffer => {
    const head = Buffer.alloc(14)
    head.writeInt32BE(10 + body.length, 0)
    head.writeInt16BE(key, 4)
    head.writeInt16BE(version, 6)
    head.writeInt32BE(correlation, 8)
    head.writeInt16BE(-1, 12)
    return Buffer.concat([head, body])
  }
  const list = listOffsetsRequest(TOPIC, [0], 'latest', 'read_uncommitted')
  const both = Buffer.concat([frame(12, 3, 1, heartbeatRequest(MEMBER).body), frame(2, 5, 2, list.body)])
  // in pieces, as TCP brings them
  for (let at = 0; at < both.length; at += 7) relay.fromClient(both.subarray(at, at + 7))
  expect([asked.length, sent.length]).toEqual([1, 0])
  const answer = Buffer.alloc(14)
  answer.writeInt32BE(10, 0)
  answer.writeInt32BE(1, 4)
  relay.fromServer(answer)
  expect(sent.map((bytes) => bytes.readInt32BE(4))).toEqual([1, 2])
  expect(list.decode((sent[1] as Buffer).subarray(8))[0]?.error).toBe('NOT_LEADER_OR_FOLLOWER')
})
