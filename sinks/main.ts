import { createClickHouse } from '../infra/runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../infra/runtime/config.ts'
import { readContract } from '../infra/runtime/stage-contracts.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'
import { STAGE_METRICS_TOPIC, stageTopic } from '../schemas/topics.ts'
import { startLightAudit } from './audit/start-light-audit.ts'
import { deadLetterRows } from './clickhouse/dead-letter-rows.ts'
import { labelRows } from './clickhouse/label-rows.ts'
import { predictionRows } from './clickhouse/prediction-rows.ts'
import { startSealedStageSink } from './clickhouse/sealed/start-sealed-sink.ts'
import { stageMetricsRows } from './clickhouse/stage-metrics-rows.ts'
import type { RowKind } from './clickhouse/stored-row.ts'
import { SINKS } from './config.ts'
import { createInstruments } from './instruments.ts'
import { startTables } from './online/start-tables.ts'

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

  async function store<T>(
    input: string,
    topic: string,
    schema: AvroSchema,
    rows: RowKind<T>,
    lingerMs = own.lingerMs,
  ): Promise<void> {
    await startSealedStageSink(context, {
      input,
      topic,
      schema,
      rows,
      clickhouse,
      limits: { ...limits, lingerMs },
      observer: { ...hopObserver(`sinks-${input}`), landed: (chunk) => observer.landed(chunk) },
    })
  }

  const { name, label, event } = pipeline
  const topicOf = (input: 'predictions' | 'dead-letters'): string => stageTopic(name, input)
  await store('predictions', topicOf('predictions'), await readContract('prediction'), predictionRows(name))
  if (label !== null) {
    await store('labels', label.topic, label.schema, labelRows({ pipeline: name, label, tenant: event.tenant }))
  }
  await store('dead-letters', topicOf('dead-letters'), await readContract('dead-letter'), deadLetterRows)
  const reports = await readContract('stage-metrics')
  await store('stage-metrics', STAGE_METRICS_TOPIC, reports, stageMetricsRows(name), own.reportLingerMs)
  if (pipeline.tables.length > 0) await startTables(context, { ...own, limits, hopObserver, observer })
  await startLightAudit(context, { clickhouse, intervalMs: own.auditIntervalMs })
})
