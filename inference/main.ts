import { createAvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { readContract, registerContract, startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { consumerGroup, stageTopic } from '../schemas/topics.ts'
import { INFERENCE } from './config.ts'
import { createInstruments } from './instruments.ts'
import { loadModels, requireModelFor } from './models/model-set.ts'
import { createScoreBatch, PREDICTIONS_OUTPUT } from './score-batch.ts'

await runStage('inference', INFERENCE, async (context, own) => {
  const { pipeline, config, registry, clock, logger, metrics } = context
  const instruments = createInstruments(metrics)
  const output = stageTopic(pipeline.name, PREDICTIONS_OUTPUT)

  const models = await context.start('models', async () => {
    const loaded = await loadModels({ pipeline, clock, logger })
    return { value: loaded, stop: () => loaded.release() }
  })
  requireModelFor(pipeline, models)
  const { type, schemaId } = await context.start('prediction schema', async () => ({
    value: await registerContract(context, 'prediction', output),
    stop: async () => {},
  }))
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
    outputs: { [PREDICTIONS_OUTPUT]: output },
    limits: { maxRows: own.maxRows, maxBytes: own.maxBytes, lingerMs: own.lingerMs },
    handler: () =>
      createScoreBatch({
        vectors,
        models,
        choice: pipeline.model,
        maxRows: own.maxRows,
        schemaId,
        encode: (prediction) => type.encode(schemaId, prediction),
        clock,
        observer: instruments,
      }),
    observer: hopMetrics(metrics)('inference'),
  })
})
