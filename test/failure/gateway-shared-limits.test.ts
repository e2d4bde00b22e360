import { setTimeout as delay } from 'node:timers/promises'
import { expect, inject, test } from 'vitest'
import { sendEvents } from '../support/gateway-events.ts'
import { issueKey } from '../support/gateway-keys.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { startRedisProcess } from '../support/redis-process.ts'
import { runPipeline } from '../support/running-pipeline.ts'

const LIMIT = 20
const FLOOD_MS = 5_000
/** What may come through beyond limit × time: the bucket, and a quarter. */
const most = (ms: number): number => 1.25 * LIMIT * (1 + ms / 1_000)

test('one key has one limit at two gateways, with Redis there, frozen, back and killed', {
  timeout: 600_000,
}, async () => {
  const { env: stack } = inject('stack')
  const redis = await startRedisProcess()
  const env = { ...stack, REDIS_URL: redis.url, MILLRACE_GATEWAY_REPLICAS: '2', MILLRACE_GATEWAY_REDIS_MS: '250' }
  const { folder, name } = copyPipeline(FLIGHTS)
  await runPipeline(folder, env, { start: false })
  const key = await issueKey(env, { requestsPerSecond: LIMIT })
  const gateways = await Promise.all([startGatewayProcess(folder, env), startGatewayProcess(folder, env)])

  /** How many were accepted by each, and how long it took. */
  async function flood(): Promise<{ readonly accepted: readonly number[]; readonly ms: number }> {
    const stop = new AbortController()
    const since = performance.now()
    const sending = gateways.map(({ url }) =>
      sendEvents({ url: () => url, pipeline: name, key, senders: 2 }, stop.signal),
    )
    await delay(FLOOD_MS)
    stop.abort()
    const sent = await Promise.all(sending)
    const ms = performance.now() - since
    expect(new Set(sent.flat().map(({ status }) => status))).toEqual(new Set([202, 429]))
    expect(sent.flat().every(({ status, retryAfter }) => status === 202 || Number(retryAfter) > 0)).toBe(true)
    return { accepted: sent.map((events) => events.filter(({ status }) => status === 202).length), ms }
  }

  async function expectLimited(situation: string): Promise<void> {
    const { accepted, ms } = await flood()
    const sum = accepted.reduce((total, count) => total + count, 0)
    expect(sum, situation).toBeLessThanOrEqual(most(ms))
    // nobody is locked out either
    expect(sum, situation).toBeGreaterThan((LIMIT * ms) / 2_000)
  }

  await expectLimited('Redis is there')
  redis.freeze()
  await expectLimited('Redis is frozen')
  redis.thaw()
  await expectLimited('Redis is back')
  await redis.kill()
  await expectLimited('Redis is gone')
})
