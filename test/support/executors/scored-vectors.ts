import { createExecutors } from '../../../inference/execution/executors.ts'
import { serveVersion } from '../../../inference/models/serve-version.ts'
import { shareSeed } from '../../../inference/rollout/entity-bucket.ts'
import type { Route, ServedVersion } from '../../../inference/rollout/routes.ts'
import { createScoreBatch } from '../../../inference/score-batch.ts'
import { createAvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../../infra/runtime/avro/avro-type.ts'
import { systemClock as clock } from '../../../infra/runtime/clock.ts'
import { readCoordinates } from '../../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { readContract } from '../../../infra/runtime/stage-contracts.ts'
import { createLogger } from '../../../infra/runtime/telemetry/logger.ts'
import type { FeatureVector } from '../../../schemas/generated/records.ts'
import type { CompiledModelChoice } from '../../../schemas/pipeline/compiled.ts'
import { readModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { childPid } from '../child-pid.ts'
import { memoryRegistry } from '../memory-registry.ts'
import type { CreateHandler } from './hop-settings.ts'

/*
 * Scoring as it is, of two real models: a fast one in the process answers half of the keys, a slow one in a child the others. What is
 * given names their folders. The child is killed once in the life of a process.
 */

const VECTOR_SCHEMA_ID = 1
const PREDICTION_SCHEMA_ID = 3
/** Of the keys, in 10,000. */
export const SLOW_SHARE = 5_000
/** Calls, at most, before the child is killed. */
const KILLED_WITHIN = 100
/** Of an events topic that is not there. */
const GENERATION = '00000000-0000-4000-8000-000000000000'
const MEMORY_BYTES = 2 ** 30

const vectorSchema = await readContract('feature-vector')
const vectorType = parseAvroSchema(vectorSchema, 'feature-vector')

/** The vector of a number, whose features are the number, 2 and 3; null instead of the 2 where the model is to refuse it. */
export function numberedVector(featureSet: string, partition: number, number: number, isRefused: boolean): Buffer {
  const vector: FeatureVector = {
    event_id: `${partition}-${number}`,
    tenant: '',
    segment: '',
    event_time: 0,
    ingested_at: 0,
    event_schema_id: VECTOR_SCHEMA_ID,
    origin_generation: GENERATION,
    origin_offset: number,
    source_generation: GENERATION,
    source_offset: number,
    feature_set: featureSet,
    features: [number, isRefused ? Number.NaN : 2, 3],
    degraded: false,
    traceparent: null,
  }
  return vectorType.encode(VECTOR_SCHEMA_ID, vector)
}

export const createHandler: CreateHandler = async ({ given, random }) => {
  const logger = createLogger('warn', { part: 'models' })
  const executors = createExecutors({ logger, memoryLimitBytes: MEMORY_BYTES })
  const choice: CompiledModelChoice = {
    ...{ name: 'm', alias: 'production', directory: '', output: { tensor: 'score', index: 0 } },
    ...{ budgetMs: 20, deadlineMs: null, provider: { name: 'cpu', demand: 'prefer' }, fallback: null },
  }

  async function serve(name: string, executor: 'inline' | 'process'): Promise<ServedVersion> {
    const manifest = readModelManifest(given[name] ?? '')
    const settings = { maxRows: 1_024, maxBytes: 2 ** 23, maxLingerMs: 0, executor, predictionCacheBytes: 0 }
    const observer = { released: () => {}, looked: () => {} }
    const deps = { choice, providers: ['cpu'], executors, settings, clock, logger, observer } as const
    return (await serveVersion({ manifest, profiles: [], purpose: 'answers' }, deps)).version
  }

  const slow = await serve('slow', 'process')
  const route: Route = {
    primary: await serve('fast', 'inline'),
    canary: { version: slow, weight: SLOW_SHARE, seed: shareSeed(slow.manifest.sha256) },
    shadow: null,
  }
  const { handle, ...rest } = createScoreBatch({
    choice,
    clock,
    observer: { answered: () => {} },
    shadow: { offer: () => {} },
    routes: { acquire: () => ({ ...route, release: () => {} }), problem: () => null },
    vectors: createAvroReader<FeatureVector>({
      schema: vectorSchema,
      name: 'feature-vector',
      registry: memoryRegistry(new Map([[VECTOR_SCHEMA_ID, vectorSchema]])),
      clock,
      unknownSchemaWaitMs: -1,
    }),
    encodeVector: (vector) => vectorType.encode(PREDICTION_SCHEMA_ID, vector),
    schemaId: PREDICTION_SCHEMA_ID,
    concurrency: 4,
  })
  let calls = random.between(1, KILLED_WITHIN)
  return {
    handler: {
      ...rest,
      async handle(outcomes) {
        if (--calls === 0) process.kill(childPid(), 'SIGKILL')
        await handle(outcomes)
      },
    },
    originOf(batch, index) {
      const value = batch.value(index)
      const at = value === null ? null : readCoordinates(value)
      return at === null ? null : { generation: at.originGeneration, offset: at.originOffset }
    },
    close: () => executors.close(),
  }
}
