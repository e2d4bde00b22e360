import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { generateDecoder } from '../../processors/compile/generated-decoder.ts'
import { compileLookupSites } from '../../processors/compile/lookup-sites.ts'
import type { EventRecord } from '../../processors/compile/step.ts'
import { createFeaturesOfBatch } from '../../processors/features-of-batch.ts'
import { createProcessBatch, FEATURES_OUTPUT } from '../../processors/process-batch.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { type MemoryRecord, memoryBatch } from '../support/memory-kafka.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { endsOf, handled, memoryTables, VECTOR_SCHEMA_ID } from '../support/processing.ts'
import { recordsOf, voyages, WRITERS } from '../support/voyage-pipeline.ts'

const vectors = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')
const registry = memoryRegistry(new Map(WRITERS.map(({ schema }, id) => [id, schema])))
const row = (wind: number | null) => ({ time: 1_000_000, record: { wind } })
const rows = {
  [`weather/${tableKeyText(['Wien', 0])}`]: row(12.5),
  [`weather/${tableKeyText(['Wien', 1])}`]: row(null),
  [`weather/${tableKeyText(['Köln', 2])}`]: row(1e300),
}

/** Both ways from a batch to each record's end. */
function ways(segment: string, tenant: { readonly from: 'header' } | { readonly fixed: string }) {
  const voyage = voyages(segment)
  const pipeline = { ...voyage, event: { ...voyage.event, tenant } }
  const readSlowly: string[] = []
  const deps = {
    pipeline,
    events: createAvroReader<EventRecord>({
      schema: pipeline.event.schema,
      name: 'event',
      registry,
      clock: systemClock,
      unknownSchemaWaitMs: -1,
    }),
    tables: memoryTables(rows),
    schemaId: VECTOR_SCHEMA_ID,
    encode: (vector: { readonly event_id: string }) => {
      readSlowly.push(vector.event_id)
      return vectors.encode(VECTOR_SCHEMA_ID, vector)
    },
    observer: { processed: () => {} },
  }
  const handler = createProcessBatch(deps)
  const readable = createFeaturesOfBatch(deps)
  return {
    readSlowly,
    async columns(batch: ReturnType<typeof memoryBatch>) {
      const [outcome] = await handled(handler, [batch], FEATURES_OUTPUT)
      return outcome === undefined ? [] : endsOf(outcome, FEATURES_OUTPUT)
    },
    async objects(batch: ReturnType<typeof memoryBatch>) {
      const [outcomes] = await readable([batch])
      return outcomes?.map((one) => {
        if (one.ok) return vectors.encode(VECTOR_SCHEMA_ID, one.vector)
        return 'rejection' in one ? one.rejection : one.deferral
      })
    },
  }
}

const writerTypes = WRITERS.map(({ schema, name }) => parseAvroSchema(schema, name))
const valid = fc.oneof(
  ...WRITERS.map(({ schema }, id) =>
    recordsOf(schema)
      .filter((record) => writerTypes[id]?.problem(record) === null)
      .map((record) => writerTypes[id]?.encode(id, record) as Buffer),
  ),
)
const byte = fc.integer({ min: 0, max: 255 })
const damaged = fc
  .tuple(valid, fc.nat(), byte, fc.constantFrom('flip', 'cut', 'insert', 'append', 'huge'))
  .map(([whole, where, one, how]) => {
    const bytes = Buffer.from(whole)
    const at = where % (bytes.length + 1)
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
    if (how === 'cut') return before
    if (how === 'append') return Buffer.concat([bytes, Buffer.from([one])])
    if (how === 'insert') return Buffer.concat([before, Buffer.from([one]), after])
    if (how === 'huge') return Buffer.concat([before, Buffer.alloc(9, 0xff), after])
    return Buffer.concat([before, Buffer.from([one]), after.subarray(1)])
  })
const anything = fc.oneof(
  { weight: 6, arbitrary: valid },
  { weight: 6, arbitrary: damaged },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 30 }).map((array) => Buffer.from(array)) },
  { weight: 1, arbitrary: fc.constant(null) },
)
const headers = fc.constantFrom(
  {},
  { 'millrace-tenant': Buffer.from('acme') },
  { 'millrace-tenant': Buffer.from([0xff]), other: Buffer.alloc(3) },
  { traceparent: Buffer.from('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01') },
  { traceparent: Buffer.from('no trace') },
)

const batchOf = (records: readonly MemoryRecord[]) =>
  memoryBatch({ topic: 'voyages.events', partition: 0, records, offsets: records.map((_, at) => 3 * at + 2 ** 33) })

test.each(
  ['port', 'cabin', 'kind', 'extra', 'late', 'insured'].flatMap((segment) => [
    [segment, { fixed: 'shop' }] as const,
    [segment, { from: 'header' }] as const,
  ]),
)('by columns and by objects, every record ends the same: segment %s, tenant %j', async (segment, tenant) => {
  const { columns, objects } = ways(segment, tenant)
  const record = fc.record({ value: anything, headers, timestamp: fc.integer({ min: -1, max: 2 ** 42 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(record, { maxLength: 12 }), async (records) => {
      const batch = batchOf(records)
      const [ours, theirs] = [await columns(batch), await objects(batch)]
      expect(ours.map(plain)).toEqual(theirs?.map(plain))
    }),
    { numRuns: 150 },
  )
})

test('what is in order takes no object, whatever it was written with', async () => {
  const { columns, objects, readSlowly } = ways('port', { fixed: 'shop' })
  const ordinary = { id: 'a', at: 1_000_500, port: 'Wien', km: 3, seats: 4, cabin: 'first', late: true, ratio: 2 }
  const rest = { count: 6, big: 1e15, unread: [null], choice: 'c', deep: { a: { b: 1 } }, stops: [], notes: {} }
  const record = { ...ordinary, ...rest, raw: Buffer.alloc(1), extra: 1, kind: 'tug', insured: true }
  for (const [id, { schema, generated }] of WRITERS.entries()) {
    const value = writerTypes[id]?.encode(id, record) ?? null
    const batch = batchOf([{ value }])
    expect((await columns(batch)).map(plain)).toEqual((await objects(batch))?.map(plain))
    const pipeline = voyages('port')
    expect(generateDecoder(pipeline, schema, compileLookupSites(pipeline.features)) !== null).toBe(generated)
  }
  expect(readSlowly).toEqual(WRITERS.filter(({ generated }) => !generated).map(() => 'a'))
})

function plain(end: unknown): unknown {
  return Buffer.isBuffer(end) ? end.toString('hex') : end
}
