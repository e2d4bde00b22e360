import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadStageModule } from '../cli/stage-module.ts'
import { createAvroReader } from '../runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../runtime/avro/avro-type.ts'
import type { SchemaRegistry } from '../runtime/avro/schema-registry.ts'
import { systemClock } from '../runtime/clock.ts'
import type { BatchHandler } from '../runtime/kafka/outcome.ts'
import { readContract } from '../runtime/stage-contracts.ts'
import { silentLogger } from '../runtime/telemetry/logger.ts'

type Create = (deps: object) => BatchHandler
type LoadModels = (deps: object) => Promise<{ release(): Promise<void> }>
interface ProcessBatch {
  readonly createVectorsOfBatches: (deps: object) => unknown
}

/** Outputs of the model that is none: [rows, 2] zeros. */
const OUTPUT_WIDTH = 2

/**
 * What inference/fused-main.ts makes of a pipeline: the processors' vectors and inference's scoring in one handler, whose
 * output is `predictions`. Without a model every answer is 0: everything is done but the run.
 */
export async function fusedHandler(options: {
  readonly pipeline: CompiledPipeline
  readonly registry: SchemaRegistry
  /** Of the prediction. */
  readonly schemaId: number
  readonly maxRows: number
  readonly model: boolean
}): Promise<BatchHandler> {
  const { pipeline, registry, schemaId, maxRows } = options
  const { createVectorsOfBatches } = await loadStageModule<ProcessBatch>('processors/process-batch')
  const { createFusedBatch } = await loadStageModule<{ createFusedBatch: Create }>('inference/fused-batch')
  const vectorType = parseAvroSchema(await readContract('feature-vector'), 'feature vector')
  const vectorsOf = createVectorsOfBatches({
    pipeline,
    events: createAvroReader({
      schema: pipeline.event.schema,
      name: 'event',
      registry,
      clock: systemClock,
      unknownSchemaWaitMs: 10_000,
    }),
    tables: { fetch: async () => ({ row: () => null }) },
    encode: (vector: unknown) => vectorType.encode(schemaId, vector),
    observer: { processed: () => {} },
  })
  return createFusedBatch({
    vectorsOf,
    featureSet: pipeline.featureSet.digest,
    models: options.model ? await loadedModels(pipeline) : noModel(pipeline),
    choice: pipeline.model,
    schemaId,
    maxRows,
    clock: systemClock,
    observer: { ran: () => {} },
  })
}

async function loadedModels(pipeline: CompiledPipeline) {
  const { loadModels } = await loadStageModule<{ loadModels: LoadModels }>('inference/models/model-set')
  return loadModels({ pipeline, clock: systemClock, logger: silentLogger })
}

function noModel({ features, featureSet }: CompiledPipeline) {
  const width = features.length
  const manifest = {
    name: 'none',
    version: '1',
    sha256: '0'.repeat(64),
    input: {
      tensors: [{ name: 'features', type: 'float32', columns: [...featureSet.features.keys()] }],
      features: featureSet.features,
      ranges: featureSet.features.map(() => null),
      missing: 'nan',
      batch: null,
    },
    output: {
      tensors: [{ name: 'probabilities', width: OUTPUT_WIDTH, offset: 0 }],
      width: OUTPUT_WIDTH,
      range: [0, 1],
      classes: null,
    },
  }
  const model = { manifest, width, run: async (rows: Float32Array) => new Float32Array((rows.length / width) * 2) }
  return { find: (digest: string) => (digest === featureSet.digest ? model : null), rescan: async () => {} }
}
