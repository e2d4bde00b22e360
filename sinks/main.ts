import { createClickHouse } from '../infra/runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../infra/runtime/config.ts'
import { collectSeldom } from '../infra/runtime/heap.ts'
import { readContract } from '../infra/runtime/stage-contracts.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'
import {
  ALERTS_TOPIC,
  CONTROL_TOPIC,
  GATEWAY_REQUESTS_TOPIC,
  STAGE_METRICS_TOPIC,
  sharedGroup,
  stageTopic,
} from '../schemas/topics.ts'
import { startLightAudit } from './audit/start-light-audit.ts'
import { alertRows } from './clickhouse/alert-rows.ts'
import { controlLogRows } from './clickhouse/control-log-rows.ts'
import { deadLetterRows } from './clickhouse/dead-letter-rows.ts'
import { gatewayRequestsRows } from './clickhouse/gateway-requests-rows.ts'
import { labelRows } from './clickhouse/label-rows.ts'
import { predictionRows } from './clickhouse/prediction-rows.ts'
import type { SealedSink } from './clickhouse/sealed/sealed-sink.ts'
import { startSealedStageSink } from './clickhouse/sealed/start-sealed-sink.ts'
import { stageMetricsRows } from './clickhouse/stage-metrics-rows.ts'
import type { RowKind } from './clickhouse/stored-row.ts'
import { SINKS } from './config.ts'
import { startDrift } from './drift/start-drift.ts'
import { createInstruments, resultsInstruments } from './instruments.ts'
import { startTables } from './online/start-tables.ts'
import { startResults } from './results/start-results.ts'

interface Stored<T> {
  readonly input: string
  readonly topic: string
  readonly group?: string
  /** Name of one of our contracts, or the schema itself. */
  readonly contract: string | AvroSchema
  readonly rows: RowKind<T>
  readonly lingerMs?: number
}

await runStage('sinks', SINKS, async (context, own) => {
  const { pipeline, connections, logger, metrics } = context
  const observer = createInstruments(metrics, logger)
  const hopObserver = hopMetrics(metrics)
  const limits = { maxRows: own.maxRows, maxBytes: own.maxBytes, lingerMs: own.lingerMs }

  const clickhouse = await context.start('ClickHouse', async () => {
    const client = createClickHouse(clickHouseConfig(connections, own.insertTimeoutMs))
    try {
      await client.ping()
    } catch (error) {
      await client.close()
      throw error
    }
    return { value: client, stop: () => client.close() }
  })

  async function store<T>(stored: Stored<T>): Promise<SealedSink> {
    const { input, contract, lingerMs = own.lingerMs, ...rest } = stored
    return await startSealedStageSink(context, {
      ...rest,
      input,
      schema: typeof contract === 'string' ? await readContract(contract) : contract,
      clickhouse,
      limits: { ...limits, lingerMs },
      observer: { ...hopObserver(`sinks-${input}`), landed: (chunk) => observer.landed(chunk) },
    })
  }

  const { name, label, event } = pipeline
  const lanes = (input: 'predictions' | 'shadow' | 'dead-letters') => ({ input, topic: stageTopic(name, input) })
  const { source } = await store({ ...lanes('predictions'), contract: 'prediction', rows: predictionRows(name) })
  await store({ ...lanes('shadow'), contract: 'prediction', rows: predictionRows(name, 'shadow_predictions') })
  if (label !== null) {
    const rows = labelRows({ pipeline: name, label, tenant: event.tenant })
    await store({ input: 'labels', topic: label.topic, contract: label.schema, rows })
  }
  await store({ ...lanes('dead-letters'), contract: 'dead-letter', rows: deadLetterRows })
  await store({
    input: 'stage-metrics',
    topic: STAGE_METRICS_TOPIC,
    contract: 'stage-metrics',
    rows: stageMetricsRows(name),
    lingerMs: own.reportLingerMs,
  })
  await store({
    input: 'gateway-requests',
    topic: GATEWAY_REQUESTS_TOPIC,
    contract: 'gateway-requests',
    rows: gatewayRequestsRows(name),
    lingerMs: own.reportLingerMs,
  })
  await store({
    input: 'control',
    topic: CONTROL_TOPIC,
    group: sharedGroup('sinks.control', connections.clickhouseDatabase),
    contract: 'control-entry',
    rows: controlLogRows,
  })
  await store({
    input: 'alerts',
    topic: ALERTS_TOPIC,
    contract: 'alert',
    rows: alertRows(name),
    lingerMs: own.reportLingerMs,
  })
  if (pipeline.tables.length > 0) await startTables(context, { ...own, limits, hopObserver, observer })
  await startResults(context, { ...own, limits, observer: resultsInstruments(metrics, logger) })
  await startLightAudit(context, { clickhouse, intervalMs: own.auditIntervalMs })
  await startDrift(context, {
    clickhouse,
    intervalMs: own.driftIntervalMs,
    webhookUrl: own.webhookUrl,
    webhookSecret: own.webhookSecret,
    isActive: () => source.trusted() && source.positions().has(0),
  })
  collectSeldom()
})
