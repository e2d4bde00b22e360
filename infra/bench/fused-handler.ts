import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import type { OutputRange } from '../../schemas/pipeline/manifest/model-output.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { loadStageModule } from '../cli/stage-module.ts'
import { createAvroReader } from '../runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../runtime/avro/avro-type.ts'
import type { SchemaRegistry } from '../runtime/avro/schema-registry.ts'
import { systemClock } from '../runtime/clock.ts'
import type { BatchHandler } from '../runtime/kafka/outcome.ts'
import { readContract } from '../runtime/stage-contracts.ts'
import { silentLogger } from '../runtime/telemetry/logger.ts'

type Create = (deps: object) => BatchHandler
interface BundledRoutes {
  readonly startBundledRoutes: (options: object) => Promise<{ readonly value: unknown }>
}
interface ProcessBatch {
  readonly createVectorsOfBatches: (deps: object) => unknown
}

/** Outputs of the model that is none: [rows, 2] zeros. */
const OUTPUT_WIDTH = 2
/** As fused-main.ts has it. */
const CONCURRENCY = 2

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
    routes: options.model ? await bundledRoutes(pipeline, maxRows) : noModel(pipeline),
    choice: pipeline.model,
    schemaId,
    concurrency: CONCURRENCY,
    clock: systemClock,
    observer: { answered: () => {} },
    shadow: { offer: () => {} },
  })
}

async function bundledRoutes(pipeline: CompiledPipeline, maxRows: number): Promise<unknown> {
  const { startBundledRoutes } = await loadStageModule<BundledRoutes>('inference/models/bundled-routes')
  const { value } = await startBundledRoutes({
    pipeline,
    settings: { maxRows, maxBytes: 2 ** 30, maxLingerMs: 0, executor: 'inline', predictionCacheBytes: 0 },
    clock: systemClock,
    logger: silentLogger,
    observer: { released: () => {}, looked: () => {} },
  })
  return value
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
      ranges: Array.from({ length: OUTPUT_WIDTH }, (): OutputRange => [0, 1]),
      classes: null,
    },
  } satisfies Partial<ModelManifest>
  const batcher = {
    async submit({ rows }: { readonly rows: Float32Array }) {
      const to = rows.length / width
      const batchRows = new Int32Array(to).fill(to)
      const outputs = new Float32Array(to * OUTPUT_WIDTH)
      return {
        outputs,
        failures: new Map(),
        parts: [{ from: 0, to, batchRows, provider: 'cpu', scoredAt: Date.now(), rowMs: 0 }],
      }
    },
  }
  const route = { primary: { manifest, width, batcher }, canary: null, shadow: null, release: () => {} }
  return { acquire: (digest: string) => (digest === featureSet.digest ? route : null), problem: () => null }
}
