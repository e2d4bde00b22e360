import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { createFusedBatch, type FusedBatchDeps } from '../../inference/fused-batch.ts'
import { startBundledRoutes } from '../../inference/models/bundled-routes.ts'
import type { RolloutRoutes } from '../../inference/rollout/create-routes.ts'
import type { RouteShare, Routes } from '../../inference/rollout/routes.ts'
import { createScoreBatch } from '../../inference/score-batch.ts'
import type { ScoreColumnsDeps, ScoreObserver } from '../../inference/score-columns.ts'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { type Clock, systemClock } from '../../infra/runtime/clock.ts'
import type { BatchHandler } from '../../infra/runtime/kafka/outcome.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { type Logger, silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { FeatureVector, Prediction } from '../../schemas/generated/records.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { memoryRegistry } from './memory-registry.ts'
import { VECTOR_SCHEMA_ID } from './processing.ts'

const MODEL_1 = 'infra/sample/flights/models/1'
/** The same model with one feature more. */
export const MODEL_2 = 'test/fixtures/models/flight-delay-2'

/** The pipeline with a model directory of its own, in which version 1 of the sample model lies; gone after the test. */
export function withModels(pipeline: CompiledPipeline): CompiledPipeline & { readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), 'millrace-models-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  addVersion(directory, '1')
  return { ...pipeline, model: { ...pipeline.model, directory }, directory }
}

export type Manifest = Record<string, unknown> & {
  version: string
  sha256: string
  input: { tensor: string; features: { name: string }[]; missing: string }
  output: { tensor: string; width: number; range?: number[] }
  golden: { features: (number | null)[]; outputs: number[] }[]
}

/** Copies a model's folder as a version, with its manifest changed. */
export function addVersion(
  directory: string,
  version: string,
  options: { readonly from?: string; readonly edit?: (manifest: Manifest) => void; readonly model?: Buffer } = {},
): string {
  const folder = join(directory, version)
  mkdirSync(folder, { recursive: true })
  cpSync(options.from ?? MODEL_1, folder, { recursive: true })
  const file = join(folder, 'manifest.json')
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest
  manifest.version = version
  options.edit?.(manifest)
  writeFileSync(file, JSON.stringify(manifest))
  if (options.model !== undefined) writeFileSync(join(folder, 'model.onnx'), options.model)
  return folder
}

export interface Scoring {
  readonly routes: RolloutRoutes
  release(): Promise<void>
  readonly handler: BatchHandler
  /** From events to predictions. */
  fused(vectorsOf: FusedBatchDeps['vectorsOf']): BatchHandler
  /** Rows of each run, in order. */
  readonly runs: number[]
  /** Value of a features record. */
  value(vector: FeatureVector): Buffer
  /** A predictions record's value, as an object. */
  prediction(value: Buffer): Prediction
}

/** Inference on real models and real Avro, without Kafka and registry. Releases the models after the test. */
export async function scoring(
  pipeline: CompiledPipeline,
  options: {
    readonly maxRows?: number
    readonly clock?: Clock
    readonly logger?: Logger
    readonly keep?: boolean
    /** Answers its share of the entities. */
    readonly canary?: RouteShare
  } = {},
): Promise<Scoring> {
  const { maxRows = 1_024, clock = systemClock, logger = silentLogger } = options
  const runs: number[] = []
  const { value: bundled, stop: release } = await startBundledRoutes({
    pipeline,
    settings: { maxRows, maxBytes: 2 ** 30, maxLingerMs: 0, executor: 'inline', predictionCacheBytes: 0 },
    clock,
    logger,
    observer: { released: (_, { rows }) => void runs.push(rows), looked: () => {} },
  })
  if (options.keep !== true) onTestFinished(release)
  const { canary } = options
  const routes = canary === undefined ? bundled : { ...bundled, acquire: withCanary(bundled, canary) }
  return { routes, release, runs, ...(await scoringOn(pipeline, routes, { clock })) }
}

/** Scoring on the routes that are given, of what a pipeline or its choice of a model says. */
export async function scoringOn(
  pipeline: Pick<CompiledPipeline, 'model'> & { readonly featureSet: { readonly digest: string } },
  routes: Routes,
  options: { readonly clock?: Clock; readonly observer?: ScoreObserver } & Partial<
    Pick<ScoreColumnsDeps, 'failed' | 'shadow'>
  > = {},
): Promise<Pick<Scoring, 'handler' | 'fused' | 'value' | 'prediction'>> {
  const { clock = systemClock, observer = { answered: () => {} }, ...others } = options
  const schema = await readContract('feature-vector')
  const vectors = parseAvroSchema(schema, 'feature-vector')
  const predictions = parseAvroSchema(await readContract('prediction'), 'prediction')
  const read = predictions.readerOf(predictions)
  const shared = {
    routes,
    choice: pipeline.model,
    schemaId: 0,
    concurrency: 2,
    clock,
    observer,
    shadow: { offer: () => {} },
    ...others,
  }
  return {
    fused: (vectorsOf) => createFusedBatch({ ...shared, vectorsOf, featureSet: pipeline.featureSet.digest }),
    handler: createScoreBatch({
      vectors: createAvroReader<FeatureVector>({
        schema,
        name: 'feature-vector',
        registry: memoryRegistry(new Map([[VECTOR_SCHEMA_ID, schema]])),
        clock: systemClock,
        unknownSchemaWaitMs: -1,
      }),
      ...shared,
      encodeVector: (vector) => vectors.encode(0, vector),
    }),
    value: (vector) => vectors.encode(VECTOR_SCHEMA_ID, vector),
    prediction: (value) => read(value) as Prediction,
  }
}

function withCanary(routes: RolloutRoutes, canary: RouteShare): RolloutRoutes['acquire'] {
  return (featureSet) => {
    const route = routes.acquire(featureSet)
    return route === null ? null : { ...route, canary, release: () => route.release() }
  }
}

/** The features record's content for one row of features. */
export function vectorOf(featureSet: string, features: readonly (number | null)[], index = 0): FeatureVector {
  return {
    event_id: `event-${index}`,
    tenant: 'acme',
    segment: 'EWR',
    event_time: 1_363_342_800_000,
    ingested_at: 1_700_000_000_000,
    event_schema_id: 7,
    origin_generation: 'events-generation',
    origin_offset: 500 + index,
    source_generation: 'events-generation',
    source_offset: 500 + index,
    feature_set: featureSet,
    features: features.map((value) => value ?? Number.NaN),
    degraded: false,
    traceparent: null,
  }
}
