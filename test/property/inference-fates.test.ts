import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import { entityBucket } from '../../inference/rollout/entity-bucket.ts'
import type { SealedOutcome } from '../../infra/runtime/kafka/outcome.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { type ModelVersion, versionOf } from '../support/model-version.ts'
import { REFUSING } from '../support/onnx/hostile-models.ts'
import { endsOf, FLIGHTS, handled, VECTOR_SCHEMA_ID } from '../support/processing.ts'
import { type Scoring, scoring, scoringOn, vectorOf } from '../support/scoring.ts'
import { fixedRoutes, servedInTest } from '../support/served-version.ts'

const pipeline = await loadPipeline(FLIGHTS)
const stage = await scoring(pipeline, { maxRows: 5, keep: true })
afterAll(() => stage.release())

const width = pipeline.features.length
const float = fc.oneof(fc.float(), fc.constant(Number.NaN), fc.float({ min: -2_000, max: 2_000 }))
const vector = fc
  .tuple(fc.array(float, { minLength: width, maxLength: width }), fc.nat(9), fc.boolean())
  .map(([features, index, short]) => {
    const kept = short && index === 0 ? features.slice(1) : features
    return stage.value(vectorOf(pipeline.featureSet.digest, kept, index))
  })
const stranger = fc.constant(stage.value(vectorOf('of no model', [1])))
const bytes = fc.uint8Array({ maxLength: 40 }).map((body) => Buffer.from(body))
const garbage = fc.oneof(
  bytes,
  bytes.map((body) => Buffer.concat([Buffer.from([0, 0, 0, 0, VECTOR_SCHEMA_ID]), body])),
  fc.constant(null),
)
const value = fc.oneof({ weight: 6, arbitrary: vector }, { weight: 1, arbitrary: garbage })

const batchOf = (values: readonly (Buffer | null)[], partition = 0, from = 0) =>
  memoryBatch({
    topic: 'flights.features',
    partition,
    offsets: values.map((_, index) => from + index),
    records: values.map((one) => ({ value: one })),
  })

/** What must not depend on the batch: not its size, and not when it was scored. */
const ends = (outcome: SealedOutcome | undefined, { prediction }: Pick<Scoring, 'prediction'> = stage) =>
  outcome === undefined
    ? []
    : endsOf(outcome, 'predictions').map((end) =>
        Buffer.isBuffer(end) ? { ...prediction(end), batch_rows: 0, scored_at: 0 } : end,
      )

test('whatever bytes arrive, every record gets exactly one end, or waits with all behind it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof({ weight: 12, arbitrary: value }, stranger), { maxLength: 20 }),
      async (values) => {
        const [outcome] = await handled(stage.handler, [batchOf(values)], 'predictions')
        const waiting = outcome?.deferral?.index ?? values.length
        expect(outcome?.settled).toBe(waiting)
        expect(Object.keys(ends(outcome))).toHaveLength(waiting)
      },
    ),
    { numRuns: 200 },
  )
})

test('a record’s end does not depend on its neighbours, its batch or the other partitions', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 16 }), fc.nat(), async (values, cut) => {
      const [whole] = await handled(stage.handler, [batchOf(values)], 'predictions')
      const at = cut % values.length
      const parts = [batchOf(values.slice(0, at)), batchOf(values.slice(at), 1, at)]
      const [left, right] = await handled(stage.handler, parts, 'predictions')
      expect([...ends(left), ...ends(right)]).toEqual(ends(whole))
      const alone = []
      for (const [index, one] of values.entries()) {
        const [outcome] = await handled(stage.handler, [batchOf([one], 0, index)], 'predictions')
        alone.push(ends(outcome)[0])
      }
      expect(alone).toEqual(ends(whole))
    }),
    { numRuns: 60 },
  )
})

const SHARE = { weight: 3_000, seed: 5 }
/** Above it an answer may not be used. */
const HIGHEST = 150
const LOOKED_UP: ModelVersion = { ...REFUSING, output: { ...REFUSING.output, range: [0, HIGHEST] } }
const DOUBLED: ModelVersion = {
  ...LOOKED_UP,
  model: {
    ...LOOKED_UP.model,
    weights: LOOKED_UP.model.weights.map(({ values, ...weights }) => ({
      ...weights,
      values: values instanceof Float32Array ? values.map((value) => 2 * value) : values,
    })),
  },
  golden: [{ features: [1, 2, 3], outputs: [4] }],
  more: { version: '2' },
}
const looked: CompiledModelChoice = {
  name: 'm',
  alias: 'production',
  directory: '/nowhere',
  output: { tensor: 'score', index: 0 },
  budgetMs: 20,
  deadlineMs: 60_000,
  provider: { name: 'cpu', demand: 'require' },
  fallback: { score: -1, label: null, late: true, invalid: false },
}

interface Row {
  readonly id: string
  /** What a score is looked up by, of 100. */
  readonly first: number
  readonly isShort: boolean
  readonly isOld: boolean
}

const row = fc.record({
  id: fc.nat(200).map((id) => `event-${id}`),
  first: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: -100, max: 99 }) },
    { weight: 2, arbitrary: fc.integer({ min: 100, max: 2 ** 30 }) },
    { weight: 1, arbitrary: fc.constantFrom(-101, -(2 ** 40), 3e38, Number.NaN, Number.POSITIVE_INFINITY) },
  ),
  isShort: fc.nat(20).map((one) => one === 0),
  isOld: fc.nat(6).map((one) => one === 0),
})

/** What becomes of a row, whatever is beside it. */
function fateOf({ id, first, isShort, isOld }: Row): object {
  const canary = entityBucket(Buffer.from(id), 0, id.length, SHARE.seed) < SHARE.weight
  const version = { role: canary ? 'canary' : 'primary', model_version: canary ? '2' : '1' }
  if (isOld) return { event_id: id, ...version, score: -1, outputs: [], answer: 'fallback' }
  if (isShort) return { eventId: id, reason: 'feature_width' }
  if (!Number.isFinite(first)) return { eventId: id, reason: 'non_finite' }
  if (first >= 100 || first < -100) return { eventId: id, reason: 'model_error' }
  const score = ((first < 0 ? first + 100 : first) + 1) * (canary ? 2 : 1)
  if (score > HIGHEST) return { eventId: id, reason: 'output_out_of_range' }
  return { event_id: id, ...version, score, outputs: [score], answer: 'scored' }
}

test('nor on how rows are cut over calls and lanes, beside a canary and rows that fail a whole run', async () => {
  const [primary, canary] = [versionOf(LOOKED_UP), versionOf(DOUBLED)]
  const { digest } = primary.featureSet
  const routes = fixedRoutes(await servedInTest(primary, looked, { maxRows: 7 }), {
    version: await servedInTest(canary, looked, { maxRows: 4 }),
    ...SHARE,
  })
  const own = await scoringOn({ model: looked, featureSet: { digest } }, routes)
  const valueFor = ({ id, first, isShort, isOld }: Row): Buffer => {
    const vector = vectorOf(digest, isShort ? [first] : [first, 0, 0])
    // those that are not old are from tomorrow
    const ingested_at = isOld ? vector.ingested_at : Date.now() + 86_400_000
    return own.value({ ...vector, event_id: id, ingested_at })
  }
  /** Rows from `from` on, as a lane's batch; keys are ids. */
  const laneOf = (rows: readonly Row[], from: number, partition: number) =>
    memoryBatch({
      topic: 'p.features',
      partition,
      offsets: rows.map((_, index) => from + index),
      records: rows.map((one) => ({ key: Buffer.from(one.id), value: valueFor(one) })),
    })

  /** Cuts rows where the numbers say, into calls of up to three lanes, all of which are under way at once. */
  async function cut(rows: readonly Row[], sizes: readonly number[], lanesACall: number) {
    const lanes: (readonly [rows: readonly Row[], from: number])[] = []
    for (let from = 0; from < rows.length; ) {
      const size = sizes[lanes.length % sizes.length] ?? 1
      lanes.push([rows.slice(from, from + size), from])
      from += size
    }
    const calls = Array.from({ length: Math.ceil(lanes.length / lanesACall) }, (_, call) =>
      lanes.slice(call * lanesACall, (call + 1) * lanesACall),
    )
    const outcomes = await Promise.all(
      calls.map((call) =>
        handled(
          own.handler,
          call.map(([part, from], partition) => laneOf(part, from, partition)),
          'predictions',
        ),
      ),
    )
    return outcomes.flat().flatMap((outcome) => ends(outcome, own))
  }

  await fc.assert(
    fc.asyncProperty(
      fc.array(row, { minLength: 1, maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 }),
      fc.integer({ min: 1, max: 3 }),
      async (rows, sizes, lanesACall) => {
        const alone = await cut(rows, [1], 1)
        // ingested_at was made for each call
        const known = (all: readonly object[]) => all.map((end) => ({ ...end, ingested_at: 0 }))
        expect(alone).toEqual(rows.map((one) => expect.objectContaining(fateOf(one))))
        expect(known(await cut(rows, [rows.length], 1))).toEqual(known(alone))
        expect(known(await cut(rows, sizes, lanesACall))).toEqual(known(alone))
      },
    ),
    { numRuns: 100 },
  )
})
