import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { SealedOutcome } from '../../infra/runtime/kafka/outcome.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { EVENT_SCHEMA_ID, endsOf, handled, ORDERS, processing } from '../support/processing.ts'

const pipeline = await loadPipeline(ORDERS)
const stage = await processing(pipeline)

const DAY = 86_400_000
const order = fc.record({
  order_id: fc.string({ maxLength: 6 }),
  customer_id: fc.string({ maxLength: 6 }),
  placed_at: fc.integer({ min: -10 * DAY, max: 60_000 * DAY }),
  amount: fc.oneof(fc.double(), fc.double({ min: 0, max: 1e5 })),
  items: fc.option(fc.integer({ min: 0, max: 100 })),
  customer_days: fc.option(fc.integer({ min: 0, max: 1_000 })),
  channel: fc.constantFrom('WEB', 'STORE', 'PHONE'),
  payment: fc.string({ maxLength: 8 }),
  country: fc.option(fc.constantFrom('AT', 'XX', '__proto__')),
  gift: fc.boolean(),
  express: fc.option(fc.boolean()),
})
const valid = order.map((record) => stage.event(record))
const header = Buffer.from([0, 0, 0, 0, EVENT_SCHEMA_ID])
const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array))
const value = fc.oneof(
  { weight: 4, arbitrary: valid },
  { weight: 1, arbitrary: bytes },
  { weight: 1, arbitrary: bytes.map((body) => Buffer.concat([header, body])) },
  { weight: 1, arbitrary: fc.tuple(valid, fc.nat(80)).map(([whole, length]) => whole.subarray(0, length)) },
  { weight: 1, arbitrary: fc.constant(null) },
)

function batchOf(partition: number, offset: number, values: readonly (Buffer | null)[]) {
  const records = values.map((one) => ({ value: one }))
  const offsets = values.map((_, index) => offset + index)
  return memoryBatch({ topic: 'orders.events', partition, offsets, records })
}

const ends = (outcome: SealedOutcome | undefined) =>
  outcome === undefined
    ? []
    : endsOf(outcome, 'features').map((end) => (Buffer.isBuffer(end) ? end.toString('hex') : end))

test('whatever bytes arrive, every record gets exactly one end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(value, { maxLength: 20 }), async (values) => {
      const [outcome] = await handled(stage.handler, [batchOf(0, 0, values)], 'features')
      expect(outcome?.settled).toBe(values.length)
      expect(Object.keys(ends(outcome))).toHaveLength(values.length)
    }),
    { numRuns: 300 },
  )
})

test('a record’s end does not depend on its neighbours, its batch or the other partitions', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 16 }), fc.nat(), async (values, cut) => {
      const [whole] = await handled(stage.handler, [batchOf(0, 0, values)], 'features')
      const at = cut % values.length
      const [first, second] = [values.slice(0, at), values.slice(at)]
      const parts = [batchOf(0, 0, first), batchOf(1, at, second)]
      const [left, right] = await handled(stage.handler, parts, 'features')
      expect([...ends(left), ...ends(right)]).toEqual(ends(whole))
      const alone = await Promise.all(
        values.map(async (one, index) => {
          const [outcome] = await handled(stage.handler, [batchOf(0, index, [one])], 'features')
          return ends(outcome)[0]
        }),
      )
      expect(alone).toEqual(ends(whole))
    }),
    { numRuns: 100 },
  )
})

test('what is emitted is finite or missing, and fits the feature set', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(valid, { maxLength: 10 }), async (values) => {
      const [outcome] = await handled(stage.handler, [batchOf(0, 0, values)], 'features')
      for (const end of outcome === undefined ? [] : endsOf(outcome, 'features')) {
        if (!Buffer.isBuffer(end)) continue
        const vector = stage.vector(end)
        expect(vector.features).toHaveLength(pipeline.features.length)
        expect(vector.features.every((feature) => Number.isFinite(feature) || Number.isNaN(feature))).toBe(true)
        expect(vector.event_id).not.toBe('')
      }
    }),
    { numRuns: 200 },
  )
})
