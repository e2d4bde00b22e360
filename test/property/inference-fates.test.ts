import fc from 'fast-check'
import { afterAll, expect, test } from 'vitest'
import type { SealedOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { endsOf, FLIGHTS, handled, VECTOR_SCHEMA_ID } from '../support/processing.ts'
import { scoring, vectorOf } from '../support/scoring.ts'

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
const ends = (outcome: SealedOutcome | undefined) =>
  outcome === undefined
    ? []
    : endsOf(outcome, 'predictions').map((end) =>
        Buffer.isBuffer(end) ? { ...stage.prediction(end), batch_rows: 0, scored_at: 0 } : end,
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
