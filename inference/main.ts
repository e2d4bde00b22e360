import { createAvroReader } from '../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../infra/runtime/avro/avro-type.ts'
import { collectSeldom } from '../infra/runtime/heap.ts'
import { readCoordinates } from '../infra/runtime/kafka/exactly-once/coordinates.ts'
import { once, readContract, registerContract } from '../infra/runtime/stage-contracts.ts'
import { startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import type { FeatureVector } from '../schemas/generated/records.ts'
import { consumerGroup, stageTopic } from '../schemas/topics.ts'
import { BATCHES_AT_ONCE, INFERENCE } from './config.ts'
import { createScoreBatch, PREDICTIONS_OUTPUT } from './score-batch.ts'
import { startModels } from './start-models.ts'

await runStage('inference', INFERENCE, async (context, { maxRows, ...own }) => {
  const { pipeline, config, registry, clock, metrics } = context
  const output = stageTopic(pipeline.name, PREDICTIONS_OUTPUT)
  const models = await startModels(context, { ...own, maxRowsPerRun: maxRows }, 'inference')
  const { schemaId } = await once(context, 'prediction schema', () => registerContract(context, 'prediction', output))
  const schema = await readContract('feature-vector')
  const vector = parseAvroSchema(schema, 'feature vector')
  const vectors = createAvroReader<FeatureVector>({
    schema,
    name: 'feature vector',
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })

  const hop = await startStageHop(context, {
    name: 'inference',
    group: consumerGroup(pipeline.name, 'inference'),
    topic: stageTopic(pipeline.name, 'features'),
    output: { name: PREDICTIONS_OUTPUT, topic: output },
    originOf(batch, index) {
      const value = batch.value(index)
      const at = value === null ? null : readCoordinates(value)
      return at === null ? null : { generation: at.originGeneration, offset: at.originOffset }
    },
    limits: { maxRows, maxBytes: own.maxBytes, lingerMs: 0 },
    handler: createScoreBatch({
      ...models.scoring,
      vectors,
      encodeVector: (record) => vector.encode(schemaId, record),
      schemaId,
      concurrency: BATCHES_AT_ONCE,
    }),
    modelFacts: models.facts,
    observer: hopMetrics(metrics)('inference'),
  })
  models.servedBy(hop)
  collectSeldom()
})
