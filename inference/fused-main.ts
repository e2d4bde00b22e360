import { collectSeldom } from '../infra/runtime/heap.ts'
import { once, registerContract } from '../infra/runtime/stage-contracts.ts'
import { startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import { PROCESSORS } from '../processors/config.ts'
import { createVectorsOfBatches } from '../processors/process-batch.ts'
import { startProcessing } from '../processors/start-processing.ts'
import { consumerGroup, stageTopic } from '../schemas/topics.ts'
import { BATCHES_AT_ONCE, INFERENCE } from './config.ts'
import { createFusedBatch } from './fused-batch.ts'
import { PREDICTIONS_OUTPUT } from './score-batch.ts'
import { startModels } from './start-models.ts'

const { maxRows, ...inference } = INFERENCE
const FUSED = { ...PROCESSORS, ...inference, maxRowsPerRun: maxRows }

/**
 * Processors and inference in one process, without the features topic between them. A member of the processors' group, so
 * that each partition of events is worked on here or there.
 */
await runStage('fused', FUSED, async (context, own) => {
  const { pipeline, metrics } = context
  const output = stageTopic(pipeline.name, PREDICTIONS_OUTPUT)
  const models = await startModels(context, own, 'processors')
  const { schemaId } = await once(context, 'prediction schema', () => registerContract(context, 'prediction', output))
  const processing = await startProcessing(context, own)

  const hop = await startStageHop(context, {
    name: 'fused',
    group: consumerGroup(pipeline.name, 'processors'),
    topic: pipeline.event.topic,
    output: { name: PREDICTIONS_OUTPUT, topic: output },
    alsoFence: [stageTopic(pipeline.name, 'features')],
    limits: { maxRows: own.maxRows, maxBytes: own.maxBytes, lingerMs: own.lingerMs },
    handler: processing.filtered(
      createFusedBatch({
        ...models.scoring,
        vectorsOf: createVectorsOfBatches(processing.deps(schemaId)),
        featureSet: pipeline.featureSet.digest,
        schemaId,
        concurrency: BATCHES_AT_ONCE,
      }),
    ),
    modelFacts: models.facts,
    observer: hopMetrics(metrics)('fused'),
  })
  models.servedBy(hop)
  collectSeldom()
})
