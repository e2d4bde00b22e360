import type { Command } from 'commander'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { createClickHouse } from '../../runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../../runtime/config.ts'
import { describeError } from '../../runtime/errors.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { connectRedis } from '../../runtime/redis/redis-client.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { type CommandConnections, commandConnections } from '../connections.ts'
import { topicsOf } from '../deployment/declare-topics.ts'

interface Finding {
  readonly ok: boolean
  readonly about: string
  readonly detail: string
}

const TIMEOUT_MS = 5_000

export function register(program: Command): void {
  program
    .command('doctor')
    .description('check every connection, and the topics of a pipeline, and say what is wrong')
    .argument('[folder]', 'pipeline folder')
    .option('--allow-single-replica', 'accept topics that lose data with one broker', false)
    .action(async (folder: string | undefined, options: { allowSingleReplica: boolean }) => {
      const connections = commandConnections(process.env)
      const findings = (await Promise.all(checks(connections, folder, options.allowSingleReplica))).flat()
      for (const { ok, about, detail } of findings) console.log(`${ok ? 'ok    ' : 'WRONG '}  ${about}: ${detail}`)
      if (findings.some(({ ok }) => !ok)) process.exitCode = 1
    })
}

function checks(
  { settings, kafka, registry }: CommandConnections,
  folder: string | undefined,
  allowSingleReplica: boolean,
): readonly Promise<readonly Finding[]>[] {
  return [
    finding(`Kafka (KAFKA_BROKERS ${settings.kafkaBrokers.join(',')})`, async (about) => {
      const admin = await startKafkaAdmin(kafka)
      try {
        const brokers = await admin.value.brokerCount()
        const cluster = [{ ok: true, about, detail: `${brokers} broker(s) answer` }]
        return folder === undefined ? cluster : [...cluster, ...(await topics(admin.value, folder, allowSingleReplica))]
      } finally {
        await admin.stop()
      }
    }),
    finding(`schema registry (SCHEMA_REGISTRY_URL ${settings.registryUrl})`, async (about) => {
      await registry.schemaById(2_147_483_647)
      return [{ ok: true, about, detail: 'answers' }]
    }),
    finding(`Redis (REDIS_URL ${withoutPassword(settings.redisUrl)})`, async (about) => {
      const redis = connectRedis({
        url: settings.redisUrl,
        tls: settings.redisCa === undefined ? undefined : { ca: settings.redisCa },
        commandTimeoutMs: TIMEOUT_MS,
        logger: silentLogger,
      })
      try {
        await redis.ping()
        return [{ ok: true, about, detail: 'answers' }]
      } finally {
        await redis.close()
      }
    }),
    finding(`ClickHouse (CLICKHOUSE_URL ${withoutPassword(settings.clickhouseUrl)})`, async (about) => {
      const clickhouse = createClickHouse(clickHouseConfig(settings, TIMEOUT_MS))
      try {
        const [row] = await clickhouse.rows<{ version: string }>('SELECT version() AS version')
        return [{ ok: true, about, detail: `version ${row?.version}, database ${settings.clickhouseDatabase}` }]
      } finally {
        await clickhouse.close()
      }
    }),
  ]
}

async function finding(
  about: string,
  check: (about: string) => Promise<readonly Finding[]>,
): Promise<readonly Finding[]> {
  try {
    return await check(about)
  } catch (error) {
    return [{ ok: false, about, detail: describeError(error).message }]
  }
}

async function topics(admin: KafkaAdmin, folder: string, allowSingleReplica: boolean): Promise<readonly Finding[]> {
  const declarations = topicsOf(await loadPipeline(folder))
  const counts = await admin.partitionCounts(declarations.map(({ name }) => name))
  const lanes = counts.get(declarations.at(-1)?.name ?? '')
  return await Promise.all(
    declarations.map(async ({ name, partitions, owned }) => {
      const about = `topic ${name}`
      const count = counts.get(name)
      if (count === undefined) return { ok: false, about, detail: 'does not exist: run millrace topics' }
      if (partitions === 'lanes' && lanes !== undefined && count < lanes) {
        return { ok: false, about, detail: `has ${count} partitions, the pipeline has ${lanes} lanes` }
      }
      return { about, ...topicSettings(await admin.topicConfig(name, SETTINGS), owned, allowSingleReplica, count) }
    }),
  )
}

const SETTINGS = ['message.timestamp.type', 'min.insync.replicas', 'unclean.leader.election.enable'] as const

function topicSettings(
  config: ReadonlyMap<string, string>,
  owned: boolean,
  allowSingleReplica: boolean,
  partitions: number,
): Omit<Finding, 'about'> {
  const [timestamps, replicas, unclean] = SETTINGS.map((name) => config.get(name))
  if (timestamps !== 'LogAppendTime') {
    const remedy = owned ? 'run millrace topics' : 'records stamped long ago may be deleted before they are read'
    return { ok: false, detail: `message.timestamp.type is ${timestamps}: ${remedy}` }
  }
  if (unclean === 'true') return { ok: false, detail: 'unclean.leader.election.enable can lose acknowledged records' }
  if (replicas === '1' && !allowSingleReplica) {
    return { ok: false, detail: 'min.insync.replicas is 1: one broker lost is data lost (--allow-single-replica)' }
  }
  return { ok: true, detail: `${partitions} partition(s)` }
}

function withoutPassword(text: string): string {
  const url = new URL(text)
  url.password = ''
  return url.href
}
