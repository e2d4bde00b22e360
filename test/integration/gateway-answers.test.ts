import path from 'node:path'
import { expect, inject, onTestFinished, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { parseAvroSchema, readAvroFile } from '../../infra/runtime/avro/avro-type.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { connectRedis, type RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { registerContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { Answer } from '../../ingest/answers/answers.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { answerKey, coordinatesText, eventAnswerKey } from '../../schemas/redis-keys.ts'
import type { RequestId } from '../../schemas/request-id.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { eventually } from '../support/eventually.ts'
import { startTestGateway } from '../support/gateway.ts'
import { lanesOn } from '../support/lanes-on-kafka.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { predictionOf } from '../support/predictions.ts'
import { type RawRecord, writeRawRecords } from '../support/raw-records.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { openTcpGate } from '../support/tcp-gate.ts'

const env = inject('stack').env
const settings = readConfig(CONNECTIONS, env)
const DAY_MS = 86_400_000
const DEADLINE = { deadlineMs: 120_000 }
const LANE = 1

/** A pipeline whose tenants come with the events, its stages not started, and answers that reach Redis through a gate. */
async function setUp() {
  const copy = copyPipeline(ORDERS, (source) =>
    source
      .replace("tenant: 'shop'", 'tenant: { header: true }')
      .replace('  features:', '  dedupe: { window: 100 },\n  features:'),
  )
  const run = await runPipeline(copy.folder, env, { partitions: 2, start: false })
  const { hostname, port } = new URL(settings.redisUrl)
  const gate = await openTcpGate({ host: hostname, port: Number(port || 6379) })
  onTestFinished(() => gate.close())
  const redisUrl = new URL(settings.redisUrl)
  redisUrl.hostname = '127.0.0.1'
  redisUrl.port = String(gate.port)
  const { parts } = await startTestGateway(copy.folder, { ...env, REDIS_URL: redisUrl.href })
  const redis = connectRedis({ url: settings.redisUrl, commandTimeoutMs: 5_000, logger: silentLogger })
  onTestFinished(() => redis.close())
  const registry = commandConnections({ ...process.env, ...env }).registry
  return { ...copy, run, gate, answers: parts.answers, redis, registry }
}

/** Of an event that was written at that time. */
function idOf(pipeline: string, offset: number, writtenAt: number): RequestId {
  return { pipeline, dayMs: writtenAt - (writtenAt % DAY_MS), partition: LANE, offset }
}

async function forget(
  redis: RedisClient,
  pipeline: string,
  offsets: readonly number[],
  ids: readonly string[],
): Promise<void> {
  const keys = offsets.map((offset) => answerKey(pipeline, coordinatesText(LANE, offset)))
  await redis.transaction(
    [...keys, ...ids.map((id) => eventAnswerKey(pipeline, 'shop', id))].map((key) => ({ op: 'delete', key })),
  )
}

test('an event is pending, then answered to whoever waits, from Redis, and from ClickHouse when Redis has lost it or is away', {
  timeout: 600_000,
}, async () => {
  const { name, run, gate, answers, redis, registry } = await setUp()
  const { event } = run.pipeline
  const type = parseAvroSchema(event.schema, 'orders')
  const schemaId = await registry.register(event.subject, event.schema)
  const { value: order } = await readAvroFile(path.join(ORDERS, 'data', 'events.avro')).next()
  const record = (id: string, change: object = {}): RawRecord => ({
    partition: LANE,
    key: 'customer',
    value: type.encode(schemaId, { ...(order as object), order_id: id, amount: 20, ...change }),
    headers: { 'millrace-tenant': 'shop' },
  })
  const writtenAt = Date.now()
  const at = (offset: number): RequestId => idOf(name, offset, writtenAt)
  const broken: RawRecord = { ...record('d'), value: Buffer.from('no order') }

  await writeRawRecords(env, event.topic, [record('a'), record('b', { amount: -1 }), record('a'), broken])
  for (const offset of [0, 1, 2, 3]) {
    expect(await answers.find(at(offset), 'shop')).toEqual({ state: 'pending' })
    expect(await answers.find(at(offset), 'other')).toEqual({ state: 'unknown' })
    expect(await answers.find({ ...at(offset), dayMs: at(offset).dayMs - DAY_MS }, 'shop')).toEqual({
      state: 'unknown',
    })
  }
  expect(await answers.find(at(4), 'shop')).toEqual({ state: 'unknown' })
  expect(await answers.find({ ...at(0), partition: 17 }, 'shop')).toEqual({ state: 'unknown' })
  expect(await answers.wait(at(0), 'shop', AbortSignal.timeout(100))).toEqual({ state: 'pending' })

  const waiting = [0, 1, 2, 3].map((offset) => answers.wait(at(offset), 'shop', AbortSignal.timeout(90_000)))
  run.startStages()
  const answered = await Promise.all(waiting)
  const [first] = answered
  expect(first).toMatchObject({
    state: 'predicted',
    prediction: { event_id: 'a', model: 'order-risk', role: 'primary', degraded: false, answer: 'scored' },
  })
  expect(answered.slice(1)).toEqual([
    { state: 'rejected', reason: 'amount_out_of_range', message: expect.any(String) },
    first,
    { state: 'rejected', reason: 'not_avro', message: expect.any(String) },
  ])

  const everywhere = async (): Promise<void> => {
    for (const [offset, answer] of answered.entries()) {
      expect(await answers.find(at(offset), 'shop')).toEqual(answer)
      expect(await answers.find(at(offset), 'other')).toEqual({ state: 'unknown' })
      expect(await answers.find({ ...at(offset), dayMs: at(offset).dayMs - DAY_MS }, 'shop')).toEqual({
        state: 'unknown',
      })
    }
  }
  await everywhere()
  await run.settled(4, 120_000)
  await forget(redis, name, [0, 1, 2, 3], ['a', 'b'])
  await eventually(everywhere, DEADLINE)

  await gate.shut()
  await everywhere()
  // told at once, and not when the caller gives up
  expect(await answers.wait(at(0), 'shop', new AbortController().signal)).toEqual({ state: 'pending' })
  await gate.open()

  const [offset = -1] = await writeRawRecords(env, event.topic, [record('e')])
  const later = await eventually(async () => {
    const answer = await answers.wait(at(offset), 'shop', AbortSignal.timeout(30_000))
    expect(answer.state).toBe('predicted')
    return answer
  }, DEADLINE)
  gate.stall()
  await run.settled(5, 120_000)
  expect(await answers.find(at(offset), 'shop')).toEqual(later)
  expect(await run.account()).toMatchObject({ events: 5, missing: 0, duplicates: 0 })
})

test('a prediction is told alike from its Avro in Redis and from its row in ClickHouse', {
  timeout: 600_000,
}, async () => {
  const { name, run, answers, redis, registry } = await setUp()
  run.startStage('sinks')
  const topic = stageTopic(name, 'predictions')
  const { type, schemaId } = await registerContract({ registry }, 'prediction', topic)
  const generation = await eventsId(run.pipeline.event.topic)
  const now = Date.now()
  const base: Partial<Prediction> = {
    tenant: 'shop',
    ingested_at: now,
    scored_at: now + 7,
    origin_generation: generation,
  }
  const odd: readonly Partial<Prediction>[] = [
    { score: 0.1, outputs: [0.1, 0.9, 1e-40, -0] },
    { score: Number.NaN, outputs: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY] },
    { score: 3.4e38, outputs: [], label: 'ä "quoted" \\ \n label', role: 'canary', answer: 'late' },
    { event_id: 'ä/"\\\n', label: '', provider: 'cuda', degraded: true, answer: 'fallback' },
    { event_time: -1, outputs: Array.from({ length: 300 }, (_, at) => at / 7) },
  ]
  const records = odd.map((change, offset) => ({
    partition: LANE,
    key: 'customer',
    value: type.encode(
      schemaId,
      predictionOf({ ...base, event_id: `event-${offset}`, ...change, origin_offset: offset }),
    ),
  }))
  const shadow = {
    partition: LANE,
    key: 'customer',
    value: type.encode(schemaId, predictionOf({ ...base, role: 'shadow', origin_offset: 90 })),
  }
  await writeRawRecords(env, topic, [...records, shadow])

  const told: Answer[] = []
  for (const offset of odd.keys()) {
    told.push(
      await eventually(async () => {
        const [[value]] = (await redis.getMany([[answerKey(name, coordinatesText(LANE, offset))]])) as [[Buffer | null]]
        expect(value).not.toBeNull()
        return sent(await answers.find(idOf(name, offset, now), 'shop'))
      }, DEADLINE),
    )
  }
  expect(told[1]).toMatchObject({ state: 'predicted', prediction: { score: null, outputs: [null, null, null] } })
  expect(told[0]).toMatchObject({ prediction: { score: Math.fround(0.1), event_time: '2013-03-15T09:30:00.000Z' } })
  const offsets = [...odd.keys()]
  await forget(redis, name, offsets, [])
  for (const offset of offsets) {
    await eventually(
      async () => expect(sent(await answers.find(idOf(name, offset, now), 'shop'))).toEqual(told[offset]),
      DEADLINE,
    )
  }
  expect(await answers.find(idOf(name, 90, now), 'shop')).toEqual({ state: 'unknown' })
})

/** JSON knows no -0. */
function sent(answer: Answer): Answer {
  return JSON.parse(JSON.stringify(answer)) as Answer
}

async function eventsId(topic: string): Promise<string> {
  const { connections, stop } = await lanesOn(settings.kafkaBrokers)
  try {
    return (await connections.topics([topic])).get(topic)?.id ?? ''
  } finally {
    await stop()
  }
}
