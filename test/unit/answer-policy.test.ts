/** What is answered where an answer is late or may not be used, by what the pipeline says, on a real model. */
import { beforeEach, expect, test } from 'vitest'
import { createInstruments } from '../../inference/instruments.ts'
import type { ServedVersion } from '../../inference/rollout/routes.ts'
import type { Answers } from '../../inference/write-answers.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { FeatureVector, Prediction } from '../../schemas/generated/records.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { type ManualClock, manualClock } from '../support/manual-clock.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { versionOf } from '../support/model-version.ts'
import { FEATURES, REFUSING } from '../support/onnx/hostile-models.ts'
import { endsOf, handled } from '../support/processing.ts'
import { scoringOn, vectorOf } from '../support/scoring.ts'
import { fixedRoutes, servedInTest } from '../support/served-version.ts'
import { CLASSES, LINEAR, linear, softmax } from '../support/shaped-models.ts'

const DEADLINE_MS = 100
const RUN_MS = 30
const INGESTED = 1_700_000_000_000
const FALLBACK = { score: 0.125, label: 'unknown', late: false, invalid: false }
/** An answer above 0.9 may not be used. */
const CAREFUL = { ...CLASSES, output: { ...CLASSES.output, range: [0, 0.9] } }
const choice: CompiledModelChoice = {
  name: 'm',
  alias: 'production',
  directory: '/nowhere',
  output: { tensor: 'probabilities', index: 1 },
  budgetMs: 20,
  deadlineMs: null,
  provider: { name: 'cpu', demand: 'require' },
  fallback: null,
}
const withFallback = (change: Partial<typeof FALLBACK>, deadlineMs: number | null = DEADLINE_MS) => ({
  ...choice,
  deadlineMs,
  fallback: { ...FALLBACK, ...change },
})

let clock: ManualClock
beforeEach(() => {
  clock = manualClock(INGESTED)
})

interface Asked {
  readonly model: CompiledModelChoice
  readonly manifest?: ModelManifest
  /** Features, and when Kafka appended the event, ms before the batch is there. */
  readonly rows: readonly (readonly [features: readonly number[], age: number])[]
}

/** One lane, scored by a model whose run takes RUN_MS. */
async function answered({ model, manifest = versionOf(CAREFUL), rows }: Asked) {
  const version = await servedInTest(manifest, model, { clock })
  const runs: number[] = []
  const slow: ServedVersion = {
    ...version,
    batcher: {
      pending: 0,
      submit(work) {
        if (work.rows.length > 0) {
          runs.push(work.rows.length / version.width)
          clock.advance(RUN_MS)
        }
        return version.batcher.submit(work)
      },
    },
  }
  const seen: Answers[] = []
  const metrics = createMetrics({})
  const instruments = createInstruments(metrics)
  const observer = {
    answered(...said: Parameters<typeof instruments.answered>) {
      seen.push({ ...said[2], scores: said[2].scores.slice() })
      instruments.answered(...said)
    },
  }
  const { digest } = manifest.featureSet
  const stage = await scoringOn({ model, featureSet: { digest } }, fixedRoutes(slow), { clock, observer })
  const vectors = rows.map(
    ([features, age], at): FeatureVector => ({ ...vectorOf(digest, features, at), ingested_at: clock.now() - age }),
  )
  const records = vectors.map((vector) => ({ key: Buffer.from(vector.event_id), value: stage.value(vector) }))
  const batch = memoryBatch({ topic: 'p.features', partition: 0, records, generation: 'features-generation' })
  const arrivedAt = clock.now()
  const [outcome] = await handled(stage.handler, [batch], 'predictions')
  if (outcome === undefined) throw new Error('no outcome')
  const ends = endsOf(outcome, 'predictions').map((end) => (Buffer.isBuffer(end) ? stage.prediction(end) : end))
  const { text } = await metrics.expose()
  const counted = Object.fromEntries(
    [...text.matchAll(/^millrace_answers_total\{.*answer="(\w+)".*\} (\d+)$/gm)].map(([, how, count]) => [
      how,
      Number(count),
    ]),
  )
  return { ends, runs, vectors, answers: seen[0], counted, arrivedAt, manifest }
}

type Answered = Awaited<ReturnType<typeof answered>>

/** The whole prediction of a row as any Avro reader is to see it. */
function predictionOf({ vectors, manifest }: Answered, row: number, more: Partial<Prediction>): object {
  const { name, version, sha256 } = manifest
  return {
    ...vectors[row],
    source_generation: 'features-generation',
    source_offset: row,
    ...{ model: name, model_version: version, model_digest: sha256, role: 'primary', provider: 'cpu' },
    ...more,
  }
}

const scoredAs = (a: number, b: number, batchRows: number, more: Partial<Prediction> = {}) => {
  const outputs = softmax(a, b)
  const largest = outputs.indexOf(Math.max(...outputs))
  return {
    score: expect.closeTo(outputs[1] ?? Number.NaN, 5),
    outputs: outputs.map((output) => expect.closeTo(output, 5)),
    label: ['low', 'middle', 'high'][largest] ?? null,
    batch_rows: batchRows,
    scored_at: INGESTED + RUN_MS,
    answer: 'scored',
    ...more,
  } as Partial<Prediction>
}
const fallbackAt = (scoredAt: number): Partial<Prediction> => ({
  score: 0.125,
  outputs: [],
  label: 'unknown',
  batch_rows: 0,
  scored_at: scoredAt,
  answer: 'fallback',
})

/** Above 0.9: sure of `low`. */
const SURE = [6, -6] as const

test('without a deadline nothing is late', async () => {
  const model = { ...choice, fallback: null }
  const all = await answered({
    model,
    rows: [
      [[1, 0.5], 1e9],
      [[0, 0], 0],
    ],
  })
  expect(all.ends).toEqual([
    predictionOf(all, 0, scoredAs(1, 0.5, 2)),
    predictionOf(all, 1, scoredAs(0, 0, 2, { label: 'low' })),
  ])
  expect(all.counted).toEqual({ scored: 2 })
})

test('late answers are given, marked as such, where the pipeline has no fallback for them', async () => {
  for (const model of [{ ...choice, deadlineMs: DEADLINE_MS }, withFallback({ invalid: true })]) {
    clock = manualClock(INGESTED)
    const all = await answered({
      model,
      // late when it comes, late when it is answered, just in time
      rows: [
        [[1, 0.5], 500],
        [[0.5, 1], DEADLINE_MS - RUN_MS + 1],
        [[1, 1], DEADLINE_MS - RUN_MS],
      ],
    })
    expect(all.ends).toEqual([
      predictionOf(all, 0, scoredAs(1, 0.5, 3, { answer: 'late' })),
      predictionOf(all, 1, scoredAs(0.5, 1, 3, { answer: 'late' })),
      predictionOf(all, 2, scoredAs(1, 1, 3)),
    ])
    expect(all.answers).toMatchObject({ rows: 3, scored: 1, late: 2, fallbacks: 0, unasked: 0, failed: 0, invalid: 0 })
    expect(all.counted).toEqual({ scored: 1, late: 2 })
  }
})

test('the fallback stands for late answers, and the model is not asked for rows that are late when they come', async () => {
  const all = await answered({
    model: withFallback({ late: true }),
    rows: [
      [[1, 0.5], 500],
      [[0.5, 1], DEADLINE_MS - RUN_MS + 1],
      [[1, 1], DEADLINE_MS - RUN_MS],
    ],
  })
  expect(all.runs).toEqual([2])
  expect(all.ends).toEqual([
    predictionOf(all, 0, fallbackAt(all.arrivedAt)),
    predictionOf(all, 1, fallbackAt(all.arrivedAt + RUN_MS)),
    predictionOf(all, 2, scoredAs(1, 1, 2)),
  ])
  expect(all.answers).toMatchObject({ rows: 2, scored: 1, late: 0, fallbacks: 1, unasked: 1, invalid: 0 })
  expect(all.answers?.scores).toHaveLength(2)
  expect(all.counted).toEqual({ scored: 1, fallback: 2 })
})

test('a batch that is late as a whole asks no model, and is counted', async () => {
  const all = await answered({
    model: withFallback({ late: true }),
    rows: [
      [[1, 0.5], 500],
      [[0.5, 1], 101],
    ],
  })
  expect(all.runs).toEqual([])
  expect(all.ends).toEqual([0, 1].map((row) => predictionOf(all, row, fallbackAt(INGESTED))))
  expect(all.answers).toMatchObject({ rows: 0, unasked: 2, runMs: 0 })
  expect(all.counted).toEqual({ fallback: 2 })
})

test('a fallback need not have a label', async () => {
  const { fallback } = withFallback({ invalid: true })
  const model = { ...choice, fallback: { ...fallback, label: null } }
  const all = await answered({ model, rows: [[SURE, 0]] })
  expect(all.ends).toEqual([predictionOf(all, 0, { ...fallbackAt(INGESTED + RUN_MS), label: null })])
})

test('answers out of range are rejected; with a fallback for them it stands for them', async () => {
  const rows = [
    [[1, 0.5], 0],
    [SURE, 0],
    [[0.5, 1], 0],
  ] as const
  const refused = await answered({ model: choice, rows })
  expect(refused.ends).toEqual([
    predictionOf(refused, 0, scoredAs(1, 0.5, 3)),
    expect.objectContaining({
      reason: 'output_out_of_range',
      message: expect.stringMatching(/^probabilities\[0\] is 0\.99\d*, outside 0 to 0\.9$/),
      eventId: 'event-1',
      origin: { generation: 'events-generation', offset: 501 },
    }),
    predictionOf(refused, 2, scoredAs(0.5, 1, 3)),
  ])
  expect(refused.counted).toEqual({ scored: 2, invalid: 1 })

  clock = manualClock(INGESTED)
  const replaced = await answered({ model: withFallback({ invalid: true }, null), rows })
  expect(replaced.ends).toEqual([
    predictionOf(replaced, 0, scoredAs(1, 0.5, 3)),
    predictionOf(replaced, 1, fallbackAt(INGESTED + RUN_MS)),
    predictionOf(replaced, 2, scoredAs(0.5, 1, 3)),
  ])
  expect(replaced.answers).toMatchObject({ rows: 3, scored: 2, invalid: 1, fallbacks: 1 })
  expect(replaced.counted).toEqual({ scored: 2, fallback: 1 })
})

test('so are answers that are no numbers', async () => {
  const manifest = versionOf(LINEAR)
  const model = { ...choice, output: { tensor: 'y', index: 0 } }
  const rows = [
    [[3e38, 0], 0],
    [[3, 1], 0],
  ] as const
  const [bad, good] = (await answered({ model, manifest, rows })).ends
  expect(bad).toMatchObject({ reason: 'output_not_finite', message: 'y[0] is Infinity' })
  expect(good).toMatchObject({ score: linear(3, 1), outputs: [linear(3, 1)], label: null, answer: 'scored' })
  const fallback = { ...FALLBACK, invalid: true }
  const replaced = await answered({ model: { ...model, fallback }, manifest, rows })
  expect(replaced.ends).toMatchObject([{ score: 0.125, outputs: [], answer: 'fallback' }, { answer: 'scored' }])
})

test('an answer that may not be used and is late has the fallback of either policy', async () => {
  const rows = [
    [SURE, 90],
    [SURE, 0],
  ] as const
  const late = await answered({ model: withFallback({ late: true }), rows })
  expect(late.ends).toMatchObject([{ answer: 'fallback' }, { reason: 'output_out_of_range' }])
  expect(late.counted).toEqual({ fallback: 1, invalid: 1 })
  clock = manualClock(INGESTED)
  const invalid = await answered({ model: withFallback({ invalid: true }), rows })
  expect(invalid.ends).toMatchObject([{ answer: 'fallback' }, { answer: 'fallback' }])
  expect(invalid.counted).toEqual({ fallback: 2 })
})

test('what the model may not be given, and what it fails on, is rejected whatever the fallback', async () => {
  const manifest = versionOf(REFUSING)
  const model = { ...withFallback({ late: true, invalid: true }), output: { tensor: 'score', index: 0 } }
  const row = (first: number): readonly number[] => [first, ...Array<number>(FEATURES - 1).fill(0)]
  const all = await answered({
    model,
    manifest,
    rows: [
      [row(7), 0],
      [row(150), 0],
      [row(Number.NaN), 0],
      [row(150), 90],
    ],
  })
  expect(all.ends).toMatchObject([
    { score: 8, answer: 'scored' },
    { reason: 'model_error', eventId: 'event-1' },
    { reason: 'non_finite', eventId: 'event-2' },
    { reason: 'model_error', eventId: 'event-3' },
  ])
  expect(all.answers).toMatchObject({ rows: 3, scored: 1, failed: 2, invalid: 0, late: 0, fallbacks: 0 })
  expect(all.counted).toEqual({ scored: 1, failed: 2 })
})
