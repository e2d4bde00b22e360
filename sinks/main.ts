import { createAvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { createClickHouse } from '../infra/runtime/clickhouse/clickhouse-client.ts'
import { clickHouseConfig } from '../infra/runtime/config.ts'
import type { BatchHandler } from '../infra/runtime/kafka/outcome.ts'
import { readContract, startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { AvroSchema } from '../schemas/pipeline/compiled.ts'
import { consumerGroup, STAGE_METRICS_TOPIC, stageTopic } from '../schemas/topics.ts'
import { deadLetterRows } from './clickhouse/dead-letter-rows.ts'
import { createDeadLetterSink } from './clickhouse/dead-letter-sink.ts'
import { createRowInserter } from './clickhouse/insert-rows.ts'
import { labelRows } from './clickhouse/label-rows.ts'
import { predictionRows } from './clickhouse/prediction-rows.ts'
import { stageMetricsRows } from './clickhouse/stage-metrics-rows.ts'
import type { RowKind } from './clickhouse/stored-row.ts'
import { createTableSink, type TableSinkDeps } from './clickhouse/table-sink.ts'
import { SINKS } from './config.ts'
import { createInstruments } from './instruments.ts'
import { startTables } from './online/start-tables.ts'

await runStage('sinks', SINKS, async (context, own) => {
  const { pipeline, connections, config, registry, clock, logger, metrics } = context
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
    sink: (deps: TableSinkDeps<T>) => BatchHandler = createTableSink,
    lingerMs = own.lingerMs,
  ): Promise<void> {
    const { unknownSchemaWaitMs } = config
    const reader = createAvroReader<T>({ schema, name: input, registry, clock, unknownSchemaWaitMs })
    const handler = sink({ reader, rows, inserter: createRowInserter(clickhouse, rows), clock, observer })
    await startStageHop(context, {
      name: `sinks-${input}`,
      group: consumerGroup(pipeline.name, `sinks.${input}`),
      topic,
      output: null,
      reported: topic !== STAGE_METRICS_TOPIC,
      limits: { ...limits, lingerMs },
      handler,
      observer: hopObserver(`sinks-${input}`),
    })
  }

  const { name, label, event } = pipeline
  const topicOf = (input: 'predictions' | 'dead-letters'): string => stageTopic(name, input)
  await store('predictions', topicOf('predictions'), await readContract('prediction'), predictionRows(name))
  if (label !== null) {
    await store('labels', label.topic, label.schema, labelRows({ pipeline: name, label, tenant: event.tenant }))
  }
  const deadLetters = await readContract('dead-letter')
  await store('dead-letters', topicOf('dead-letters'), deadLetters, deadLetterRows, createDeadLetterSink)
  const reports = await readContract('stage-metrics')
  await store(
    'stage-metrics',
    STAGE_METRICS_TOPIC,
    reports,
    stageMetricsRows(name),
    createTableSink,
    own.reportLingerMs,
  )
  if (pipeline.tables.length > 0) await startTables(context, { ...own, limits, hopObserver, observer })
})
