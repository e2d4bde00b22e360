import { expect, test } from 'vitest'
import type { SealedOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { eventually } from '../support/eventually.ts'
import { manualClock } from '../support/manual-clock.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { endsOf, FLIGHTS, handled } from '../support/processing.ts'
import { addVersion, MODEL_2, type Scoring, scoring, vectorOf, withModels } from '../support/scoring.ts'

const flights = await loadPipeline(FLIGHTS)
const { golden, featureSet, sha256 } = readModelManifest(`${FLIGHTS}/models/1`)
const second = readModelManifest(MODEL_2)

const vectors = golden.map(({ features }, index) => vectorOf(featureSet.digest, features, index))

function batchOf(stage: Scoring, rows: typeof vectors, partition = 0) {
  const records = rows.map((vector) => ({ key: Buffer.from(vector.event_id), value: stage.value(vector) }))
  const offsets = rows.map((_, index) => 30 + 3 * index)
  return memoryBatch({ topic: 'flights.features', partition, offsets, records, generation: 'features-generation' })
}

const predictions = (stage: Scoring, outcome: SealedOutcome | undefined) =>
  outcome === undefined
    ? []
    : endsOf(outcome, 'predictions').map((end) => (Buffer.isBuffer(end) ? stage.prediction(end) : end))

test('vectors of all partitions are scored in one run, as the model was where it was trained', async () => {
  const stage = await scoring(withModels(flights))
  const batches = [batchOf(stage, vectors.slice(0, 7), 0), batchOf(stage, vectors.slice(7), 5)]
  const outcomes = await handled(stage.handler, batches, 'predictions')
  expect(stage.runs).toEqual([20])
  const all = outcomes.flatMap((outcome) => predictions(stage, outcome))
  for (const [at, prediction] of all.entries()) {
    expect(prediction).toMatchObject({ event_id: `event-${at}`, batch_rows: 20 })
    if (!('score' in prediction)) throw new Error('rejected')
    expect(Math.abs(prediction.score - (golden[at]?.outputs[1] ?? 9))).toBeLessThan(1e-6)
    expect(prediction.features).toEqual(vectors[at]?.features)
  }
})

test('a prediction carries its vector, names its own source and the model', async () => {
  const stage = await scoring(withModels(flights), { clock: manualClock(1_234_567) })
  const [outcome] = await handled(stage.handler, [batchOf(stage, vectors.slice(0, 2))], 'predictions')
  expect(predictions(stage, outcome)[1]).toEqual({
    ...vectors[1],
    source_generation: 'features-generation',
    source_offset: 33,
    model: 'flight-delay',
    model_version: '1',
    model_digest: sha256,
    role: 'primary',
    score: expect.any(Number),
    outputs: [expect.any(Number), expect.any(Number)],
    label: null,
    provider: 'cpu',
    batch_rows: 2,
    scored_at: 1_234_567,
    answer: 'scored',
  })
  const [rows] = outcome?.columns.get('predictions') ?? []
  const keys = [0, 1].map((row) => (rows === undefined ? null : sliceAt(rows.keys, row)?.toString()))
  expect(keys).toEqual(['event-0', 'event-1'])
})

test('a batch above the cap takes several runs and scores the same', async () => {
  const pipeline = withModels(flights)
  const [whole, capped] = [await scoring(pipeline), await scoring(pipeline, { maxRows: 6 })]
  const scores = async (stage: Scoring) => {
    const [outcome] = await handled(stage.handler, [batchOf(stage, vectors)], 'predictions')
    return predictions(stage, outcome).map((end) => ('score' in end ? end.score : end.reason))
  }
  expect(await scores(capped)).toEqual(await scores(whole))
  expect(capped.runs.reduce((sum, rows) => sum + rows)).toBe(20)
  expect(Math.max(...capped.runs)).toBeLessThanOrEqual(6)
})

test('a vector that the model may not be given is rejected with its tenant, id and origin', async () => {
  const pipeline = withModels(flights)
  addVersion(pipeline.directory, '1', {
    edit: (manifest) => {
      manifest.input.missing = 'refuse'
      manifest.golden = manifest.golden.filter((row) => !row.features.includes(null))
    },
  })
  const stage = await scoring(pipeline)
  const full = {
    ...vectorOf(
      featureSet.digest,
      Array.from({ length: 16 }, () => 1),
    ),
    event_id: 'full',
  }
  const rows = [
    full,
    { ...full, event_id: 'gap', features: full.features.with(3, Number.NaN), origin_offset: 77 },
    { ...full, event_id: 'short', features: full.features.slice(1) },
    full,
  ]
  const [outcome] = await handled(stage.handler, [batchOf(stage, rows)], 'predictions')
  const ends = predictions(stage, outcome)
  expect(ends[1]).toEqual({
    kind: 'rejected',
    reason: 'non_finite',
    message: 'feature origin is missing, which the model does not take',
    tenant: 'acme',
    eventId: 'gap',
    origin: { generation: 'events-generation', offset: 77 },
  })
  expect(ends[2]).toMatchObject({ reason: 'feature_width', eventId: 'short' })
  expect([ends[0], ends[3]]).toMatchObject([{ event_id: 'full', batch_rows: 2 }, { event_id: 'full' }])
})

test('an output outside the manifest’s range is rejected', async () => {
  const pipeline = withModels(flights)
  const safe = golden.findIndex(({ outputs }) => (outputs[1] ?? 1) < 0.4)
  const late = golden.findIndex(({ outputs }) => (outputs[1] ?? 0) > 0.9)
  addVersion(pipeline.directory, '1', { edit: (manifest) => Object.assign(manifest.output, { range: [0.09, 0.91] }) })
  const stage = await scoring(pipeline)
  const row = (at: number) => vectors[at] as (typeof vectors)[number]
  const [outcome] = await handled(stage.handler, [batchOf(stage, [row(late), row(safe)])], 'predictions')
  expect(predictions(stage, outcome)[0]).toMatchObject({ reason: 'output_out_of_range' })
})

test('bytes that are no vector are rejected without an origin', async () => {
  const stage = await scoring(withModels(flights))
  const batch = memoryBatch({ topic: 'f', partition: 0, records: [{ value: Buffer.from('x') }, { value: null }] })
  const [outcome] = await handled(stage.handler, [batch], 'predictions')
  expect(predictions(stage, outcome)).toMatchObject([
    { reason: 'not_avro', origin: null },
    { reason: 'not_avro', origin: null },
  ])
})

test('a vector of an unknown feature set waits with all behind it, and is scored once its model is there', async () => {
  const pipeline = withModels(flights)
  const clock = manualClock()
  const stage = await scoring(pipeline, { clock })
  const old = vectors[0] as (typeof vectors)[number]
  const fresh = vectorOf(second.featureSet.digest, second.golden[0]?.features ?? [], 1)
  const lanes = () => [batchOf(stage, [old, fresh, old], 0), batchOf(stage, [old, old], 1)]

  clock.advance(1_000)
  const [waiting, other] = await handled(stage.handler, lanes(), 'predictions')
  expect(waiting).toMatchObject({ settled: 1, deferral: { index: 1, code: 'no_model_for_feature_set' } })
  expect(other).toMatchObject({ settled: 2, deferral: null })
  // what is behind the one that waits is not scored for nothing
  expect(stage.runs.reduce((sum, rows) => sum + rows, 0)).toBe(3)

  addVersion(pipeline.directory, '2', { from: MODEL_2 })
  clock.advance(1_000)
  stage.routes.follow(false)
  const loaded = () => {
    const route = stage.routes.acquire(second.featureSet.digest)
    expect(route).not.toBeNull()
    route?.release()
  }
  await eventually(loaded, { deadlineMs: 30_000 })
  const [scored] = await handled(stage.handler, lanes(), 'predictions')
  expect(scored?.deferral).toBeNull()
  expect(predictions(stage, scored)).toMatchObject([
    { model_version: '1' },
    { model_version: '2' },
    { model_version: '1' },
  ])
})
