/** Lanes that two versions answer, row by row. */
import { expect, test } from 'vitest'
import { entityBucket } from '../../inference/rollout/entity-bucket.ts'
import type { ServedVersion } from '../../inference/rollout/routes.ts'
import type { Answers } from '../../inference/write-answers.ts'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import { openOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import type { FeatureVector } from '../../schemas/generated/records.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { type ModelVersion, versionOf } from '../support/model-version.ts'
import { endsOf, handled } from '../support/processing.ts'
import { scoringOn, vectorOf } from '../support/scoring.ts'
import { fixedRoutes, servedInTest } from '../support/served-version.ts'
import { LINEAR, linear } from '../support/shaped-models.ts'

const WEIGHT = 4_000
const SEED = 77
const ROWS = 60
const INGESTED = 1_700_000_000_000

const choice: CompiledModelChoice = {
  name: 'm',
  alias: 'production',
  directory: '/nowhere',
  output: { tensor: 'y', index: 0 },
  budgetMs: 20,
  deadlineMs: null,
  provider: { name: 'cpu', demand: 'require' },
  fallback: null,
}
/** Its answers above 100 may not be used. */
const PRIMARY: ModelVersion = { ...LINEAR, output: { ...LINEAR.output, range: [-1_000, 100] } }
/** Answers the opposite of the primary, of which those above 100 may not be used, and has a name of its own length. */
const CANARY: ModelVersion = {
  ...PRIMARY,
  model: { ...LINEAR.model, weights: [{ name: 'w', shape: [2, 1], values: Float32Array.of(-2, 3) }] },
  golden: [{ features: [1, 1], outputs: [1] }],
  more: { version: '2.0.0-candidate' },
}

const isCanary = (key: string): boolean => entityBucket(Buffer.from(key), 0, Buffer.byteLength(key), SEED) < WEIGHT
/** Features of a row: most can be answered by both, each fifth by nobody, each seventh by one of the two. */
function featuresOf(row: number): readonly [number, number] {
  if (row % 5 === 4) return [Number.NaN, 1]
  if (row % 7 === 6) return [500, 0]
  if (row % 7 === 5) return [-500, 0]
  return [row, 1]
}

/** What a row alone is to come to. */
function expected(key: string, row: number): object {
  const [a, b] = featuresOf(row)
  if (Number.isNaN(a)) return { reason: 'non_finite', eventId: key }
  const canary = isCanary(key)
  const score = canary ? -linear(a, b) : linear(a, b)
  if (score > 100) return { reason: 'output_out_of_range', eventId: key }
  return {
    event_id: key,
    source_offset: 1_000 + row,
    features: [a, b],
    score,
    outputs: [score],
    role: canary ? 'canary' : 'primary',
    model_version: canary ? '2.0.0-candidate' : '1',
  }
}

interface Failing {
  /** Submits of a version that are still to fail. */
  readonly left: { primary: number; canary: number }
  readonly error?: Error
  /** What is said of a version that fails whatever it is given. */
  readonly failed?: (version: string) => boolean
}

/** Two versions on one lane; both models are real, and their batchers fail when they are told to. */
async function stageOf(model: CompiledModelChoice, failing: Failing = { left: { primary: 0, canary: 0 } }) {
  const { left, error, ...others } = failing
  const manifests = { primary: versionOf(PRIMARY), canary: versionOf(CANARY) }
  const asked: string[] = []
  const version = async (role: 'primary' | 'canary'): Promise<ServedVersion> => {
    const served = await servedInTest(manifests[role], model)
    return {
      ...served,
      batcher: {
        pending: 0,
        async submit(work) {
          asked.push(role)
          if (left[role]-- > 0) throw error ?? retryable('model_unavailable', `${role} has no executor`)
          return await served.batcher.submit(work)
        },
      },
    }
  }
  const answers = new Map<string, Answers[]>()
  const routes = fixedRoutes(await version('primary'), { version: await version('canary'), weight: WEIGHT, seed: SEED })
  const { digest } = manifests.primary.featureSet
  expect(manifests.canary.featureSet.digest).toBe(digest)
  const observer = {
    answered: (_: ServedVersion, role: string, said: Answers) =>
      void answers.set(role, [...(answers.get(role) ?? []), said]),
  }
  const stage = await scoringOn({ model, featureSet: { digest } }, routes, { observer, ...others })
  const vectors = Array.from({ length: ROWS }, (_, row): FeatureVector => vectorOf(digest, featuresOf(row), row))
  const laneOf = (rows: readonly FeatureVector[], partition = 0, from = 0) =>
    memoryBatch({
      topic: 'p.features',
      partition,
      offsets: rows.map((_, row) => 1_000 + from + row),
      records: rows.map((vector) => ({ key: Buffer.from(vector.event_id), value: stage.value(vector) })),
      generation: 'features-generation',
    })
  return { ...stage, asked, answers, vectors, laneOf }
}

const keys = Array.from({ length: ROWS }, (_, row) => `event-${row}`)

test('rows of one lane keep their order; each has its own version, and is rejected for it alone', async () => {
  const { handler, prediction, vectors, laneOf, answers, asked } = await stageOf(choice)
  const [outcome] = await handled(handler, [laneOf(vectors)], 'predictions')
  if (outcome === undefined) throw new Error('no outcome')
  expect(outcome.settled).toBe(ROWS)
  const ends = endsOf(outcome, 'predictions').map((end) => (Buffer.isBuffer(end) ? prediction(end) : end))
  expect(ends).toEqual(keys.map((key, row) => expect.objectContaining(expected(key, row))))

  // as they are written: ascending, each under its own key
  const columns = outcome.columns.get('predictions') ?? []
  expect(columns).toHaveLength(1)
  const [rows] = columns
  if (rows === undefined) throw new Error('no columns')
  const sources = [...rows.sources.subarray(0, rows.length)]
  expect(sources).toEqual(sources.toSorted((one, other) => one - other))
  expect(sources.map((_, row) => sliceAt(rows.keys, row)?.toString())).toEqual(sources.map((row) => keys[row]))
  expect(sources.map((_, row) => rows.subjectOf(row).eventId)).toEqual(sources.map((row) => keys[row]))

  // both kinds of rows are there of both versions
  const shares = keys.filter((_, row) => row % 5 !== 4).map(isCanary)
  const counts = {
    primary: shares.filter((canary) => !canary).length,
    canary: shares.filter((canary) => canary).length,
  }
  expect(asked.toSorted()).toEqual(['canary', 'primary'])
  for (const role of ['primary', 'canary'] as const) {
    const [said] = answers.get(role) ?? []
    expect(said?.rows).toBe(counts[role])
    expect(said?.invalid).toBeGreaterThan(0)
    expect(said?.scored).toBe(counts[role] - (said?.invalid ?? 0))
  }
})

test('lanes of one version only, of the other only, and of nobody that may be asked', async () => {
  const { handler, prediction, vectors, laneOf, asked } = await stageOf(choice)
  const sound = vectors.filter((_, row) => row % 5 !== 4)
  const lanes = [
    sound.filter(({ event_id }) => isCanary(event_id)),
    sound.filter(({ event_id }) => !isCanary(event_id)),
    vectors.filter((_, row) => row % 5 === 4),
  ]
  const outcomes = await handled(
    handler,
    lanes.map((lane, partition) => laneOf(lane, partition)),
    'predictions',
  )
  expect(asked.toSorted()).toEqual(['canary', 'primary'])
  for (const [at, outcome] of outcomes.entries()) {
    const lane = lanes[at] ?? []
    const ends = endsOf(outcome, 'predictions').map((end) => (Buffer.isBuffer(end) ? prediction(end) : end))
    expect(ends).toEqual(
      lane.map(({ event_id }, row) =>
        expect.objectContaining({
          ...expected(event_id, keys.indexOf(event_id)),
          ...(at === 2 || !('score' in (ends[row] ?? {})) ? {} : { source_offset: 1_000 + row }),
        }),
      ),
    )
  }
  expect(outcomes[2]?.columns.get('predictions')).toEqual([])
})

test('the fallback of a row is given in the name of the version that it would have had', async () => {
  const fallback = { score: -1, label: null, late: true, invalid: true }
  const model = { ...choice, deadlineMs: 1_000, fallback }
  const { handler, prediction, vectors, laneOf, asked, answers } = await stageOf(model)
  // every other row was there long ago, and is late when it comes
  const mixed = vectors.map((vector, row) => ({
    ...vector,
    ingested_at: row % 2 === 0 ? INGESTED : Date.now() + 60_000,
  }))
  const [outcome] = await handled(handler, [laneOf(mixed)], 'predictions')
  const ends = outcome === undefined ? [] : endsOf(outcome, 'predictions')
  for (const [row, end] of ends.entries()) {
    const key = keys[row] ?? ''
    const alone = expected(key, row)
    const isRejected = row % 2 === 1 && 'reason' in alone && alone.reason === 'non_finite'
    if (!Buffer.isBuffer(end)) {
      expect([isRejected, end.reason]).toEqual([true, 'non_finite'])
      continue
    }
    const role = isCanary(key) ? 'canary' : 'primary'
    const given = row % 2 === 0 || 'reason' in alone ? { score: -1, outputs: [], batch_rows: 0 } : alone
    expect(prediction(end)).toMatchObject({ event_id: key, role, source_offset: 1_000 + row, ...given })
  }
  expect(ends).toHaveLength(ROWS)
  expect(asked.toSorted()).toEqual(['canary', 'primary'])
  const unasked = [...answers.values()].flat().reduce((sum, said) => sum + said.unasked, 0)
  expect(unasked).toBe(ROWS / 2)
})

test.each([
  ['the primary’s', { primary: 1, canary: 0 }],
  ['the canary’s', { primary: 0, canary: 3 }],
  ['both versions’', { primary: 1, canary: 1 }],
] as const)(
  'while %s executor is away nothing is emitted; the batch is handed in again and all of it ends once',
  async (_, left) => {
    // each is asked once for each lane
    const fails = Math.ceil(Math.max(left.primary, left.canary) / 2)
    const { handler, prediction, vectors, laneOf, asked, answers } = await stageOf(choice, { left: { ...left } })
    const batches = [laneOf(vectors.slice(0, 25)), laneOf(vectors.slice(25), 1, 25)]
    for (let attempt = 0; attempt < fails; attempt++) {
      const open = batches.map((batch) => openOutcome(batch, ['predictions']))
      await expect(handler.handle(open)).rejects.toMatchObject({ fate: 'retry', code: 'model_unavailable' })
      // it has not said what became of each: nobody can take this for an end
      for (const outcome of open) expect(() => outcome.seal()).toThrow(/unaccounted|no fate/)
    }
    expect(answers.size).toBe(0)
    const outcomes = await handled(handler, batches, 'predictions')
    const ends = outcomes
      .flatMap((outcome) => endsOf(outcome, 'predictions'))
      .map((end) => (Buffer.isBuffer(end) ? prediction(end) : end))
    expect(ends).toEqual(keys.map((key, row) => expect.objectContaining(expected(key, row))))
    // both are asked each time: neither waits for the other
    expect(asked).toHaveLength(4 * (fails + 1))
  },
)

test('a version that fails whatever it is given ends the process only where no other takes its place', async () => {
  const said: string[] = []
  const ended = async (error: Error, isReplaced: boolean): Promise<object> => {
    const failed = (version: string): boolean => {
      said.push(version)
      return isReplaced
    }
    const { handler, laneOf, vectors } = await stageOf(choice, { left: { primary: 0, canary: 1 }, error, failed })
    const open = [openOutcome(laneOf(vectors), ['predictions'])]
    return await handler.handle(open).then(
      () => ({}),
      (reason: object) => reason,
    )
  }
  const gone = fatal('model_failed', 'it fails whatever it is given')
  expect(await ended(gone, true)).toMatchObject({ fate: 'retry', code: 'model_failed' })
  expect(await ended(gone, false)).toBe(gone)
  expect(said).toEqual(['2.0.0-candidate', '2.0.0-candidate'])
  const other = new Error('not understood')
  expect(await ended(other, true)).toBe(other)
  expect(said).toHaveLength(2)
})
