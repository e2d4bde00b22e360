import { collectSeldom } from '../infra/runtime/heap.ts'
import { once, registerContract } from '../infra/runtime/stage-contracts.ts'
import { startStageHop } from '../infra/runtime/stage-hop.ts'
import { runStage } from '../infra/runtime/stage-process.ts'
import { hopMetrics } from '../infra/runtime/telemetry/hop-metrics.ts'
import { consumerGroup, stageTopic } from '../schemas/topics.ts'
import { PROCESSORS } from './config.ts'
import { createProcessBatch, FEATURES_OUTPUT } from './process-batch.ts'
import { startProcessing } from './start-processing.ts'

await runStage('processors', PROCESSORS, async (context, own) => {
  const { pipeline, metrics } = context
  const output = stageTopic(pipeline.name, FEATURES_OUTPUT)
  const { schemaId } = await once(context, 'feature vector schema', () =>
    registerContract(context, 'feature-vector', output),
  )
  const processing = await startProcessing(context, own)

  await startStageHop(context, {
    name: 'processors',
    group: consumerGroup(pipeline.name, 'processors'),
    topic: pipeline.event.topic,
    output: { name: FEATURES_OUTPUT, topic: output },
    limits: { maxRows: own.maxRows, maxBytes: own.maxBytes, lingerMs: own.lingerMs },
    handler: processing.filtered(createProcessBatch(processing.deps(schemaId))),
    observer: hopMetrics(metrics)('processors'),
  })
  collectSeldom()
})
