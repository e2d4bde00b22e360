import { expect, inject, onTestFinished, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { connectRedis } from '../../infra/runtime/redis/redis-client.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { answerKey, coordinatesText, eventAnswerKey, gatewayChannel, waitsKey } from '../../schemas/redis-keys.ts'
import { predictionAnswers } from '../../sinks/results/read-answers.ts'
import { storeAnswers } from '../../sinks/results/store-answers.ts'
import { answerBatch } from '../support/answer-batch.ts'
import { eventually } from '../support/eventually.ts'
import { predictionOf } from '../support/predictions.ts'
import { uniqueName } from '../support/unique-name.ts'

const TTL_MS = 300_000
const DEADLINE = { deadlineMs: 60_000 }
const type = parseAvroSchema(await readContract('prediction'), 'prediction')

function connect() {
  const redis = connectRedis({
    url: readConfig(CONNECTIONS, inject('stack').env).redisUrl,
    commandTimeoutMs: 5_000,
    logger: silentLogger,
  })
  onTestFinished(() => redis.close())
  return redis
}

test('whoever waits is told, whether it says so before the answer is stored or finds it there after', async () => {
  const [redis, pipeline] = [connect(), uniqueName('results')]
  const heard: string[] = []
  redis.subscribe(gatewayChannel(pipeline, 'gateway-1'), (where) => heard.push(where))
  await eventually(async () => {
    await redis.writeMany([{ op: 'publish', channel: gatewayChannel(pipeline, 'gateway-1'), message: 'hello' }])
    expect(heard).toContain('hello')
  }, DEADLINE)
  const count = 1_200
  const values = Array.from({ length: count }, (_, offset) =>
    type.encode(
      9,
      predictionOf({ event_id: `event-${offset}`, origin_offset: offset, segment: 's'.repeat(offset % 40) }),
    ),
  )
  const waits = (offset: number) => waitsKey(pipeline, coordinatesText(3, offset))
  await redis.writeMany([
    { op: 'set', key: waits(0), value: 'gateway-1', ttlMs: TTL_MS },
    { op: 'set', key: waits(700), value: 'gateway-1', ttlMs: TTL_MS },
    { op: 'set', key: waits(800), value: 'another', ttlMs: TTL_MS },
  ])

  const { blocks, answers, passed } = await predictionAnswers(
    answerBatch(3, [...values, Buffer.from('no prediction')]),
    0,
  )
  expect([blocks.length, answers, passed]).toEqual([3, count, 1])
  expect(await storeAnswers(redis, pipeline, blocks, TTL_MS)).toBe(3)
  await eventually(() => expect(heard.filter((where) => where !== 'hello')).toEqual(['3.0', '3.700']), DEADLINE)

  // said after it: found by reading
  await redis.writeMany([{ op: 'set', key: waits(5), value: 'gateway-1', ttlMs: TTL_MS }])
  for (const offset of [0, 5, 499, 500, count - 1]) {
    const [[answer, place] = []] = await redis.getMany([
      [answerKey(pipeline, coordinatesText(3, offset)), eventAnswerKey(pipeline, 'main', `event-${offset}`)],
    ])
    expect(answer).toEqual(values[offset])
    expect(place?.toString()).toBe(`3.${offset}`)
  }
})

test('answers that would be gone by now are not written, and those that are go by themselves', async () => {
  const [redis, pipeline] = [connect(), uniqueName('results')]
  const values = [1, 2].map((offset) => type.encode(9, predictionOf({ origin_offset: offset })))
  const { blocks, answers, passed } = await predictionAnswers(answerBatch(0, values, [100, 200]), 150)
  expect([answers, passed]).toEqual([1, 1])
  await storeAnswers(redis, pipeline, blocks, 50)
  await eventually(async () => {
    const [[old, recent] = []] = await redis.getMany([[answerKey(pipeline, '0.1'), answerKey(pipeline, '0.2')]])
    expect([old, recent]).toEqual([null, null])
  }, DEADLINE)
})
