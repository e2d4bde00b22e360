import type { Command } from 'commander'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { createClickHouse } from '../../runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../runtime/clock.ts'
import { clickHouseConfig } from '../../runtime/config.ts'
import { checkBrokers } from '../../runtime/kafka/connections/check-brokers.ts'
import { createLaneClaims } from '../../runtime/kafka/exactly-once/lane-claims.ts'
import type { LaneClaims } from '../../runtime/kafka/exactly-once/lane-writer.ts'
import { startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { connectRedis } from '../../runtime/redis/redis-client.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { type CommandConnections, commandConnections, logConnections } from '../connections.ts'
import { checkFencing } from '../doctor/check-fencing.ts'
import { checkTopics } from '../doctor/check-topics.ts'
import { type Finding, findings } from '../doctor/finding.ts'

const TIMEOUT_MS = 5_000
/** Of a scratch topic that lives for seconds. */
const FENCE_EXPIRY_MS = 3_600_000

interface Options {
  readonly allowSingleReplica: boolean
}

export function register(program: Command): void {
  program
    .command('doctor')
    .description('check every connection, that brokers fence, and the topics of a pipeline, and say what is wrong')
    .argument('[folder]', 'pipeline folder')
    .option('--allow-single-replica', 'accept topics that lose data with one broker', false)
    .action(async (folder: string | undefined, { allowSingleReplica }: Options) => {
      const connections = commandConnections(process.env)
      const { settings } = connections
      const found = await Promise.all([
        findings(`Kafka (KAFKA_BROKERS ${settings.kafkaBrokers.join(',')})`, (about) =>
          checkKafka(about, connections, folder, allowSingleReplica),
        ),
        findings(`schema registry (SCHEMA_REGISTRY_URL ${settings.registryUrl})`, (about) =>
          checkRegistry(about, connections),
        ),
        findings(`Redis (REDIS_URL ${withoutPassword(settings.redisUrl)})`, (about) => checkRedis(about, connections)),
        findings(`ClickHouse (CLICKHOUSE_URL ${withoutPassword(settings.clickhouseUrl)})`, (about) =>
          checkClickHouse(about, connections),
        ),
      ])
      for (const { ok, about, detail } of found.flat()) console.log(`${ok ? 'ok    ' : 'WRONG '}  ${about}: ${detail}`)
      if (found.flat().some(({ ok }) => !ok)) process.exitCode = 1
    })
}

/** What else there is to find in Kafka is looked for once its brokers are found to be those that we can work with. */
async function checkKafka(
  about: string,
  { settings, kafka }: CommandConnections,
  folder: string | undefined,
  allowSingleReplica: boolean,
): Promise<readonly Finding[]> {
  const { connections, reader } = logConnections(settings)
  const createClaims = (): LaneClaims =>
    createLaneClaims({
      connections,
      logReader: reader,
      clock: systemClock,
      logger: silentLogger,
      stage: 'doctor',
      readTail: { outputCoordinates: () => null, deadLetterCoordinates: () => null },
      repairCommand: () => 'millrace doctor',
      trusted: () => true,
      fenceExpiryMs: FENCE_EXPIRY_MS,
    })
  try {
    const { brokers, version } = await checkBrokers(connections)
    const admin = await startKafkaAdmin(kafka)
    try {
      const deps = { admin: admin.value, connections, reader, createClaims }
      return [
        { ok: true, about, detail: `${brokers} broker(s) answer, ${version}` },
        ...(await findings('fencing', (each) => checkFencing(each, deps))),
        ...(folder === undefined
          ? []
          : await findings('topics', async () =>
              checkTopics(admin.value, await loadPipeline(folder), allowSingleReplica),
            )),
      ]
    } finally {
      await admin.stop()
    }
  } finally {
    await connections.close()
  }
}

async function checkRegistry(about: string, { registry }: CommandConnections): Promise<readonly Finding[]> {
  await registry.schemaById(2_147_483_647)
  return [{ ok: true, about, detail: 'answers' }]
}

async function checkRedis(about: string, { settings }: CommandConnections): Promise<readonly Finding[]> {
  const redis = connectRedis({
    url: settings.redisUrl,
    tls: settings.redisCa === undefined ? undefined : { ca: settings.redisCa },
    commandTimeoutMs: TIMEOUT_MS,
    logger: silentLogger,
  })
  try {
    const policy = (await redis.info('memory')).get('maxmemory_policy') ?? 'unknown: it does not tell'
    const detail = `answers, maxmemory-policy is ${policy}`
    if (policy === 'noeviction') return [{ ok: true, about, detail }]
    const remedy = 'where memory is short, rows of tables vanish one by one and count as missing; set noeviction'
    return [{ ok: false, about, detail: `${detail}: ${remedy}` }]
  } finally {
    await redis.close()
  }
}

async function checkClickHouse(about: string, { settings }: CommandConnections): Promise<readonly Finding[]> {
  const clickhouse = createClickHouse(clickHouseConfig(settings, TIMEOUT_MS))
  try {
    const [row] = await clickhouse.rows<{ version: string }>('SELECT version() AS version')
    return [{ ok: true, about, detail: `version ${row?.version}, database ${settings.clickhouseDatabase}` }]
  } finally {
    await clickhouse.close()
  }
}

function withoutPassword(text: string): string {
  const url = new URL(text)
  url.password = ''
  return url.href
}
