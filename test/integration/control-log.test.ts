import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createSchemaRegistry } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig, registryConfig } from '../../infra/runtime/config.ts'
import type { ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { type FollowedControlLog, startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import type { RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import { createScope, type Scope } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'
import { type LanesOnKafka, lanesOn } from '../support/lanes-on-kafka.ts'
import { uniqueName } from '../support/unique-name.ts'

// The control log on a real broker and registry, with several writers at once.

const settings = readConfig(CONNECTIONS, inject('stack').env)
const { brokers } = kafkaConfig(settings)
const WRITERS = 4
const CHANGES = 15
const DEADLINE_MS = 60_000

const scope: Scope = createScope(silentLogger)
let kafka: LanesOnKafka
beforeAll(async () => {
  kafka = await lanesOn(brokers)
})
afterAll(async () => {
  await scope.close()
  await kafka?.stop()
})

async function newTopic(): Promise<string> {
  const name = uniqueName('control')
  const topic = { name, partitions: 1, replicas: 1, config: { 'message.timestamp.type': 'LogAppendTime' } }
  await eventually(() => kafka.admin.createTopic(topic), { deadlineMs: DEADLINE_MS })
  return name
}

/** A process: connections, writer and log of its own. */
async function process(topic: string): Promise<{ readonly log: FollowedControlLog; readonly writer: RecordWriter }> {
  const own = await lanesOn(brokers)
  await scope.start('lanes', async () => ({ value: own, stop: () => own.stop() }))
  const { connections, logReader } = own
  const deps = { connections, clock: systemClock, logger: silentLogger }
  const writer = await scope.start('writer', async () => createIdempotentWriter(deps))
  const log = await scope.start('control log', () =>
    startControlLog({
      brokers: connections,
      log: logReader,
      writer,
      registry: createSchemaRegistry(registryConfig(settings)),
      clock: systemClock,
      logger: silentLogger,
      topic,
    }),
  )
  return { log, writer }
}

test('several writers: nothing accepted is lost, all read the same, a late reader too', async () => {
  const topic = await newTopic()
  const processes = await Promise.all(Array.from({ length: WRITERS }, () => process(topic)))
  const histories = processes.map(({ log }) => {
    const history: ControlRecord[] = []
    log.watch((record) => history.push(record))
    return history
  })
  const accepted: ControlRecord[] = []
  const conflicts: string[] = []
  await Promise.all(
    processes.map(async ({ log }, writer) => {
      for (let nth = 0; nth < CHANGES; nth++) {
        // a subject of its own, then one that all change
        const name = nth % 2 === 0 ? `own-${writer}` : 'shared'
        const basedOn = log.latest('rollout', name)?.revision ?? null
        const change = {
          kind: 'rollout',
          name,
          basedOn,
          value: { writer, nth },
          actor: 'test',
          reason: 'race',
        } as const
        await log.append(change).then(
          (record) => accepted.push(record),
          (error: unknown) => conflicts.push(describeError(error).code),
        )
      }
    }),
  )
  expect(accepted.filter(({ name }) => name.startsWith('own-'))).toHaveLength(WRITERS * Math.ceil(CHANGES / 2))
  expect(new Set(conflicts)).toEqual(new Set(['control_conflict']))

  await eventually(
    () => {
      for (const { log } of processes) expect(log.revision).toBe(accepted.length)
    },
    { deadlineMs: DEADLINE_MS },
  )
  for (const history of histories) expect(history).toEqual(histories[0])
  for (const record of accepted) expect(histories[0]?.[record.revision - 1]).toEqual(record)

  const { log: late } = await process(topic)
  expect(late.revision).toBe(accepted.length)
  expect([...late.all('rollout').keys()].sort()).toEqual(['own-0', 'own-1', 'own-2', 'own-3', 'shared'])
  expect(late.all('rollout')).toEqual(processes[0]?.log.all('rollout'))
})

test('records that are no entries are passed over by all', async () => {
  const topic = await newTopic()
  const [first, second] = [await process(topic), await process(topic)]
  const write = (value: Buffer) =>
    first.writer.write([{ topic, partition: 0, records: [{ key: Buffer.from('x'), value }] }])
  await write(Buffer.from('not an entry'))
  const change = { kind: 'model', name: 'm/1', basedOn: null, value: { a: 1 }, actor: 'a', reason: '' } as const
  const record = await second.log.append(change)
  expect(record).toMatchObject({ revision: 1, value: { a: 1 } })
  await eventually(() => expect(first.log.latest('model', 'm/1')).toEqual(record), { deadlineMs: DEADLINE_MS })
  expect([first.log.passedOver, second.log.passedOver]).toEqual([1, 1])
  await expect(first.log.append(change)).rejects.toMatchObject({ fate: 'reject', code: 'control_conflict' })
})

test('a topic that is not there, and one that is made again', async () => {
  await expect(process(uniqueName('nowhere'))).rejects.toMatchObject({ fate: 'crash', code: 'unknown_topic' })
  const topic = await newTopic()
  const { log } = await process(topic)
  await log.append({ kind: 'tenant', name: 't', basedOn: null, value: {}, actor: 'a', reason: '' })
  await kafka.admin.deleteTopic(topic)
  const made = { name: topic, partitions: 1, replicas: 1, config: {} }
  await eventually(() => kafka.admin.createTopic(made), { deadlineMs: DEADLINE_MS })
  await expect(log.ended).rejects.toMatchObject({ fate: 'crash', code: 'topic_recreated' })
})
