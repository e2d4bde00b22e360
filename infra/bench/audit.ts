/**
 * `npm run bench:audit [-- --events 1000000]`: how long `millrace audit` takes. Fills a stack of its own (Kafka, registry,
 * ClickHouse, on free ports) with what a run leaves that went well, one event in a hundred dead-lettered, and audits it three
 * times. The last line is one JSON object.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { stageTopic, valueSubject } from '../../schemas/topics.ts'
import { totalsOf } from '../cli/audit/report.ts'
import { runAudit } from '../cli/audit/run-audit.ts'
import { commandConnections, logConnections } from '../cli/connections.ts'
import { patiently } from '../cli/patiently.ts'
import { deployPipeline } from '../cli/up/start-pipeline.ts'
import { freePorts } from '../local/ports.ts'
import { startStack } from '../local/stack.ts'
import { parseAvroSchema } from '../runtime/avro/avro-type.ts'
import { createClickHouse } from '../runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../runtime/clock.ts'
import { clickHouseConfig } from '../runtime/config.ts'
import { startKafkaAdmin } from '../runtime/kafka/kafka-admin.ts'
import { createIdempotentWriter } from '../runtime/kafka/producer/idempotent-writer.ts'
import type { OutgoingBatch, RecordWriter } from '../runtime/kafka/record-writer.ts'
import { readContract } from '../runtime/stage-contracts.ts'
import { silentLogger } from '../runtime/telemetry/logger.ts'
import { fillLane } from './audit/fill-lane.ts'

const LANES = 4
const ROUNDS = 3
const FLIGHTS = path.join(import.meta.dirname, '../sample/flights')

const { values } = parseArgs({ options: { events: { type: 'string', default: '1000000' } } })
const events = Number(values.events)
const home = mkdtempSync(path.join(tmpdir(), 'millrace-bench-'))
const [kafka = 0, controller = 0, registry = 0, redis = 0, clickhouse = 0] = await freePorts(5)
const ports = { kafka, 'kafka-controller': controller, registry, redis, clickhouse }
const folders = { home, dataDir: path.join(home, 'data'), logDir: path.join(home, 'logs') }
const stack = await startStack({ ...folders, ports, external: {} }, { onProgress: print })
try {
  print(JSON.stringify({ bench: 'audit', node: process.version, events, ...(await bench(stack.value.env)) }))
} finally {
  await stack.stop()
  rmSync(home, { recursive: true, force: true })
}

async function bench(env: NodeJS.ProcessEnv) {
  const pipeline = await loadPipeline(FLIGHTS)
  const commands = commandConnections(env)
  const logs = logConnections(commands.settings)
  const store = createClickHouse(clickHouseConfig(commands.settings, 300_000))
  const admin = await startKafkaAdmin(commands.kafka)
  const writer = createIdempotentWriter({ connections: logs.connections, clock: systemClock, logger: silentLogger })
  try {
    const deployment = { partitions: LANES, allowSingleReplica: true, onProgress: print }
    const patience = { say: print, signal: AbortSignal.timeout(60_000) }
    await patiently('deploying', () => deployPipeline(pipeline, commands, admin.value, deployment), patience)
    const topics = {
      features: stageTopic(pipeline.name, 'features'),
      predictions: stageTopic(pipeline.name, 'predictions'),
    }
    const ids = await logs.connections.topics([pipeline.event.topic, topics.features, topics.predictions])
    const generations = {
      events: ids.get(pipeline.event.topic)?.id ?? '',
      features: ids.get(topics.features)?.id ?? '',
      predictions: ids.get(topics.predictions)?.id ?? '',
    }
    const typeOf = async (contract: string, topic: string) => {
      const schema = await readContract(contract)
      const schemaId = await commands.registry.register(valueSubject(topic), schema)
      return { type: parseAvroSchema(schema, contract), schemaId }
    }
    const types = {
      vector: await typeOf('feature-vector', topics.features),
      prediction: await typeOf('prediction', topics.predictions),
      letter: await typeOf('dead-letter', stageTopic(pipeline.name, 'dead-letters')),
    }
    const fill = {
      pipeline,
      writer: patientWriter(writer.value),
      clickhouse: store,
      types,
      generations,
      events: events / LANES,
    }
    const filled = performance.now()
    for (let lane = 0; lane < LANES; lane++) await fillLane(fill, lane)
    print(`filled in ${((performance.now() - filled) / 1_000).toFixed(1)} s`)

    const rounds = []
    for (let round = 0; round < ROUNDS; round++) {
      const cpu = process.cpuUsage()
      const startedAt = performance.now()
      const deps = {
        pipeline,
        admin: admin.value,
        registry: commands.registry,
        clickhouse: store,
        now: Date.now(),
        ...logs,
      }
      const result = await runAudit(deps, { window: { from: null, to: null }, maxExamples: 5 })
      const seconds = (performance.now() - startedAt) / 1_000
      const { user, system } = process.cpuUsage(cpu)
      const totals = totalsOf(result.lanes)
      if (result.verdict !== 'exact' || totals.predictions.stored !== totals.events.predicted) {
        throw new Error(`the audit finds ${result.verdict}: ${JSON.stringify(totals)}`)
      }
      rounds.push({ seconds, cpuSeconds: (user + system) / 1e6, audited: totals.events.events })
      print(
        `audit of ${totals.events.events} events: ${seconds.toFixed(1)} s, ${((user + system) / 1e6).toFixed(1)} s of CPU`,
      )
    }
    const median = rounds.toSorted((a, b) => a.seconds - b.seconds)[Math.floor(ROUNDS / 2)]
    return { ...median, rssMb: Math.round(process.memoryUsage.rss() / 2 ** 20) }
  } finally {
    await writer.stop()
    await Promise.allSettled([admin.stop(), store.close(), logs.connections.close()])
  }
}

/** A broker that has just started answers that it is busy. Batch by batch: what is written once is not written again. */
function patientWriter(writer: RecordWriter): RecordWriter {
  const patience = { say: print, signal: AbortSignal.timeout(600_000) }
  const one = (batch: OutgoingBatch) => patiently('writing', () => writer.write([batch]), patience)
  return { write: async (batches) => (await Promise.all(batches.map(one))).flat() }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
