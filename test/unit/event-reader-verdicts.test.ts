import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import { createEventReader } from '../../ingest/mapping/create-event-reader.ts'
import type { EventRecord } from '../../processors/compile/step.ts'
import { createProcessBatch, FEATURES_OUTPUT } from '../../processors/process-batch.ts'
import type { AvroSchema, CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { compilePipeline } from '../../schemas/pipeline/load.ts'
import { caseBody, caseSchema, VALUE_CASES } from '../support/json-cases.ts'
import { memoryBatch } from '../support/memory-kafka.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { endsOf, handled, memoryTables, VECTOR_SCHEMA_ID } from '../support/processing.ts'

const EVENT_SCHEMA_ID = 3
const vectors = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')

/** A pipeline whose events have the field `v`, of which nothing is computed; `used`: a feature is. */
function pipelineOf(schema: AvroSchema, used: boolean): CompiledPipeline {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-verdicts-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(path.join(folder, 'event.avsc'), JSON.stringify(schema))
  return compilePipeline(folder, {
    name: 'verdicts',
    event: { schema: './event.avsc', id: 'id', time: 'at' },
    features: { f: { kind: 'number', field: used ? 'v' : 'at' } },
    model: { name: 'm', alias: 'production', output: { tensor: 'y' }, budget: '20ms' },
  })
}

const accepted = VALUE_CASES.filter(({ verdict }) => 'value' in verdict)
const types = [...new Set(accepted.map(({ type }) => type))]
const NUMBERS = ['int', 'long', 'float']

test.each([
  ...types.map((type) => [JSON.stringify(type), type, false] as const),
  ...NUMBERS.map((type) => [`${type} that a feature is made of`, type, true] as const),
])('what the gateway accepts becomes a feature vector: %s', async (_, type, used) => {
  const schema = caseSchema(type)
  const pipeline = pipelineOf(schema, used)
  const reader = createEventReader({
    schema,
    schemaId: EVENT_SCHEMA_ID,
    idField: 'id',
    keyField: null,
    mapping: null,
  })
  const bodies = accepted.filter((one) => one.type === type).map(({ text }) => caseBody(text))
  const records = bodies.map((body) => {
    const [item] = reader.read(body, 'json', { idempotencyKey: null, headers: {}, maxEvents: 1 }).items
    return { value: (item as { readonly value: Buffer }).value }
  })
  const handler = createProcessBatch({
    pipeline,
    events: createAvroReader<EventRecord>({
      schema,
      name: 'event',
      registry: memoryRegistry(new Map([[EVENT_SCHEMA_ID, schema]])),
      clock: systemClock,
      unknownSchemaWaitMs: -1,
    }),
    tables: memoryTables({}),
    schemaId: VECTOR_SCHEMA_ID,
    encode: (vector) => vectors.encode(VECTOR_SCHEMA_ID, vector),
    observer: { processed: () => {} },
  })
  const batch = memoryBatch({ topic: 'verdicts.events', partition: 0, records })
  const [outcome] = await handled(handler, [batch], FEATURES_OUTPUT)
  const ends = outcome === undefined ? [] : endsOf(outcome, FEATURES_OUTPUT)
  expect(ends.length).toBe(bodies.length)
  expect(ends.filter((end) => !Buffer.isBuffer(end))).toEqual([])
})
