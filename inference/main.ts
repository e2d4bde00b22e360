import { createAvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { readCoordinates } from '../infra/runtime/kafka/exactly-once/coordinates.ts'
import { once, readContract, registerContract } from '../infra/runtime/stage-contracts.ts'
import { startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { consumerGroup, stageTopic } from '../schemas/topics.ts'
import { INFERENCE } from './config.ts'
import { createInstruments } from './instruments.ts'
import { createScoreBatch, PREDICTIONS_OUTPUT } from './score-batch.ts'
import { startModels } from './start-models.ts'

await runStage('inference', INFERENCE, async (context, own) => {
  const { pipeline, config, registry, clock, metrics } = context
  const output = stageTopic(pipeline.name, PREDICTIONS_OUTPUT)
  const models = await startModels(context)
  const { type, schemaId } = await once(context, 'prediction schema', () =>
    registerContract(context, 'prediction', output),
  )
  const vectors = createAvroReader<FeatureVector>({
    schema: await readContract('feature-vector'),
    name: 'feature vector',
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })

  await startStageHop(context, {
    name: 'inference',
    group: consumerGroup(pipeline.name, 'inference'),
    topic: stageTopic(pipeline.name, 'features'),
    output: { name: PREDICTIONS_OUTPUT, topic: output },
    originOf(batch, index) {
      const value = batch.value(index)
      const at = value === null ? null : readCoordinates(value)
      return at === null ? null : { generation: at.originGeneration, offset: at.originOffset }
    },
    limits: { maxRows: own.maxRows, maxBytes: own.maxBytes, lingerMs: own.lingerMs },
    handler: createScoreBatch({
      vectors,
      models,
      choice: pipeline.model,
      maxRows: own.maxRows,
      schemaId,
      encode: (prediction) => type.encode(schemaId, prediction),
      clock,
      observer: createInstruments(metrics),
    }),
    observer: hopMetrics(metrics)('inference'),
  })
})
