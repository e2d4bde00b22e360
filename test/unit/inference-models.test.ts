import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { startBundledRoutes } from '../../inference/models/bundled-routes.ts'
import { requireBundled } from '../../inference/models/require-bundled.ts'
import type { Routes } from '../../inference/rollout/routes.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { CompiledPipeline, FeatureSet } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { manualClock } from '../support/manual-clock.ts'
import { FLIGHTS, ORDERS } from '../support/processing.ts'
import { addVersion, type Manifest, MODEL_2, withModels } from '../support/scoring.ts'

const SOON = { deadlineMs: 30_000 }
const flights = await loadPipeline(FLIGHTS)

async function load(pipeline: CompiledPipeline, clock = manualClock(), refusals: object[] = []) {
  const logger = { ...silentLogger, error: (fields: object) => void refusals.push(fields) }
  const { value: routes, stop } = await startBundledRoutes({
    pipeline,
    settings: { maxRows: 64, maxBytes: 2 ** 20, maxLingerMs: 0, executor: 'inline', predictionCacheBytes: 0 },
    clock,
    logger,
    observer: { released: () => {}, looked: () => {} },
  })
  onTestFinished(stop)
  return routes
}

/** The manifest of the version that answers a feature set; null when none does. */
function answering(routes: Routes, { digest }: FeatureSet): ModelManifest | null {
  const route = routes.acquire(digest)
  route?.release()
  return route?.primary.manifest ?? null
}

test('a sound model is loaded and answers its golden rows', async () => {
  const routes = await load(withModels(flights))
  const route = routes.acquire(flights.featureSet.digest)
  if (route === null) throw new Error('nothing answers')
  const { manifest, width, batcher } = route.primary
  expect(manifest).toMatchObject({ name: 'flight-delay', version: '1' })
  expect(width).toBe(16)
  const rows = manifest.golden.flatMap(({ features }) => features.map((value) => value ?? Number.NaN))
  const work = { lane: '', rows: Float32Array.from(rows), arrivedAt: 0, deadline: Number.POSITIVE_INFINITY }
  const { outputs } = await batcher.submit(work)
  const expected = manifest.golden.flatMap((row) => row.outputs)
  expect(Math.max(...expected.map((value, at) => Math.abs(value - (outputs[at] ?? 9))))).toBeLessThan(1e-6)
  route.release()
})

test('a model of several classes is loaded too', async () => {
  const orders = await loadPipeline(ORDERS)
  expect(answering(await load(orders), orders.featureSet)?.output.classes).not.toBeNull()
})

test('the model file is not touched when it is not the one the manifest describes', async () => {
  const pipeline = withModels(flights)
  const file = join(pipeline.directory, '1/model.onnx')
  const bytes = readFileSync(file)
  bytes[20_000] = (bytes[20_000] ?? 0) ^ 1
  writeFileSync(file, bytes)
  await expect(load(pipeline)).rejects.toMatchObject({
    fate: 'crash',
    code: 'invalid_model',
    message: expect.stringMatching(/1\/model\.onnx: .*sha256 is [0-9a-f]{64}, the manifest says [0-9a-f]{64}/),
  })
})

test('bytes that are no model are refused although their digest fits', async () => {
  const pipeline = withModels(flights)
  const model = Buffer.from('no model')
  const sha256 = createHash('sha256').update(model).digest('hex')
  addVersion(pipeline.directory, '1', { model, edit: (manifest) => Object.assign(manifest, { sha256 }) })
  await expect(load(pipeline)).rejects.toThrow(/1\/model\.onnx: it is no ONNX model/)
})

const first = (manifest: Manifest) => manifest.golden[0] as Manifest['golden'][number]

test.each<[string, (manifest: Manifest) => void, string]>([
  [
    'fewer features than the model takes',
    (manifest) => {
      manifest.input.features.pop()
      for (const row of manifest.golden) row.features.pop()
    },
    'input.features: 15 per row are expected, in the model features is [N, 16]',
  ],
  [
    'another input',
    (manifest) => Object.assign(manifest.input, { tensor: 'x' }),
    'input.tensor: x is expected, the model has features',
  ],
  [
    'another output',
    (manifest) => Object.assign(manifest.output, { tensor: 'label' }),
    "output.tensor: the model's output is label, the pipeline reads probabilities",
  ],
  [
    'another output width',
    (manifest) => {
      manifest.output.width = 3
      for (const row of manifest.golden) row.outputs.push(0)
    },
    'output.width: 3 per row are expected, in the model probabilities is [N, 2]',
  ],
  [
    'a golden row that the model answers otherwise',
    (manifest) => {
      first(manifest).outputs[1] = (first(manifest).outputs[1] ?? 0) + 2e-5
    },
    'golden[0].outputs[1]: ',
  ],
  ['another name', (manifest) => Object.assign(manifest, { name: 'other' }), 'name: the model is other'],
])('a manifest with %s is refused, naming file and field', async (_name, edit, message) => {
  const pipeline = withModels(flights)
  const folder = addVersion(pipeline.directory, '1', { edit })
  await expect(load(pipeline)).rejects.toThrow(`${folder}/manifest.json: ${message}`)
})

test('a feature order that differs from the model’s is refused, and so is a feature too many', () => {
  const pipeline = withModels(flights)
  const { features } = pipeline.featureSet
  const reordered = { ...pipeline, featureSet: { digest: 'x', features: features.toReversed() } }
  expect(() => requireBundled(reordered)).toThrow(
    /1\/manifest\.json: input\.features: the order differs: feature 0 is visib in the pipeline and dep_delay in the model/,
  )
  const more = {
    ...pipeline,
    featureSet: { digest: 'x', features: [...features, { name: 'dewp', type: 'float32' as const }] },
  }
  expect(() => requireBundled(more)).toThrow('input.features: the model has no feature dewp')
})

test('a directory without a version is refused', () => {
  const pipeline = withModels(flights)
  const empty = { ...pipeline, model: { ...pipeline.model, directory: join(pipeline.directory, 'none') } }
  expect(() => requireBundled(empty)).toThrow(
    expect.objectContaining({ code: 'no_model', message: expect.stringContaining('none') }),
  )
})

test('of the versions of a feature set the highest counts, 10 above 9', async () => {
  const pipeline = withModels(flights)
  addVersion(pipeline.directory, '10')
  addVersion(pipeline.directory, '9')
  expect(answering(await load(pipeline), flights.featureSet)?.version).toBe('10')
})

test('a new version is found by a rescan, at most once a second; a broken one waits until it is mended', async () => {
  const pipeline = withModels(flights)
  const clock = manualClock()
  const refusals: object[] = []
  const routes = await load(pipeline, clock, refusals)
  const { featureSet } = readModelManifest(MODEL_2)

  addVersion(pipeline.directory, '2', {
    from: MODEL_2,
    edit: (manifest) => Object.assign(manifest, { sha256: '0'.repeat(64) }),
  })
  routes.follow(false)
  expect(answering(routes, featureSet)).toBeNull()
  expect(refusals).toEqual([])
  clock.advance(1_000)
  routes.follow(false)
  await eventually(() => expect(refusals).toEqual([expect.objectContaining({ code: 'invalid_model' })]), SOON)
  clock.advance(1_000)
  routes.follow(false)
  expect(answering(routes, featureSet)).toBeNull()
  expect(refusals).toHaveLength(1)

  addVersion(pipeline.directory, '2', { from: MODEL_2 })
  clock.advance(1_000)
  routes.follow(false)
  await eventually(() => expect(answering(routes, featureSet)?.version).toBe('2'), SOON)
  expect(answering(routes, flights.featureSet)?.version).toBe('1')
})
