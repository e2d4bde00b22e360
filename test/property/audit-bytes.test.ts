import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ORIGIN } from '../../infra/cli/audit/event-ledger.ts'
import { createLayouts } from '../../infra/cli/audit/layouts.ts'
import { readLetters } from '../../infra/cli/audit/read-letters.ts'
import { readOrigins } from '../../infra/cli/audit/read-origins.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { recordSetOf } from '../support/memory-log.ts'
import { memoryRegistry } from '../support/memory-registry.ts'
import { predictionOf } from '../support/predictions.ts'

const GENERATION = 'c721d799-af26-4830-aa44-8e2e9ee3f787'
const prediction = parseAvroSchema(await readContract('prediction'), 'prediction')
const vector = parseAvroSchema(await readContract('feature-vector'), 'feature vector')
const letterType = parseAvroSchema(await readContract('dead-letter'), 'dead letter')
const generation = Buffer.from(GENERATION)

const text = fc.string({ maxLength: 20, unit: 'binary' })
// the library takes no long as large as the largest safe integer
const offset = fc.oneof(fc.nat(300), fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER - 1 }))
const outputs = fc.record({
  event_id: text,
  tenant: text,
  segment: text,
  event_time: fc.integer({ min: -1e12, max: 1e13 }),
  origin_generation: fc.oneof(fc.constant(GENERATION), fc.constant(''), fc.uuid()),
  origin_offset: offset,
  features: fc.array(fc.float({ noDefaultInfinity: true }), { maxLength: 40 }),
  traceparent: fc.option(text),
  role: fc.constantFrom('primary', 'canary', 'shadow'),
})

test('origin and role are read from the bytes as the Avro library wrote them', () => {
  fc.assert(
    fc.property(fc.array(outputs, { maxLength: 5 }), fc.boolean(), (changes, isPrediction) => {
      const records = changes.map((change) => predictionOf(change as Parameters<typeof predictionOf>[0]))
      const type = isPrediction ? prediction : vector
      const set = recordSetOf(records.map((record, at) => ({ offset: at * 2, value: type.encode(7, record) })))
      const rows = readOrigins(set, generation, (id) => id === 7, isPrediction)
      for (const [row, { origin_generation, origin_offset, role }] of records.entries()) {
        const isCurrent = origin_generation === GENERATION
        const expected =
          isPrediction && role === 'shadow' ? ORIGIN.aside : isCurrent ? ORIGIN.known : ORIGIN.otherGeneration
        expect(rows.kinds[row]).toBe(expected)
        expect(rows.origins[row]).toBe(origin_offset)
      }
    }),
  )
})

test('bytes that are cut off or arbitrary are not ours, and end the reading', () => {
  const whole = prediction.encode(7, predictionOf({ origin_generation: GENERATION }))
  const header = Buffer.from([0, 0, 0, 0, 7])
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(whole.length - 1), (noise, cut) => {
      const values = [Buffer.concat([header, noise]), whole.subarray(0, cut), whole, Buffer.from(noise), null]
      const set = recordSetOf(values.map((value, at) => ({ offset: at, value })))
      const rows = readOrigins(set, generation, (id) => id === 7, true)
      expect(rows.kinds[2]).toBe(ORIGIN.known)
      expect(rows.kinds[4]).toBe(ORIGIN.unreadable)
      for (const letter of readLetters(set, (id) => id === 7)) expect(letter).toBeDefined()
    }),
  )
  // a role that does not fit is not read past the record
  const short = recordSetOf([{ offset: 0, value: whole.subarray(0, 90) }])
  expect(readOrigins(short, generation, () => true, true).kinds[0]).toBe(ORIGIN.unreadable)
})

test('letters are read as they were written', () => {
  const letters = fc.record({
    stage: fc.constantFrom('processors', 'inference', 'sinks'),
    reason: text,
    kind: fc.constantFrom<DeadLetter['kind']>('rejected', 'filtered', 'unstored', 'retention_lost'),
    message: text,
    event_id: fc.option(text),
    topic: text,
    partition: fc.nat(1_000),
    source_offset: offset,
    origin_generation: fc.constantFrom('', GENERATION),
    origin_offset: fc.oneof(fc.constant(-1), offset),
  })
  fc.assert(
    fc.property(letters, (fields) => {
      const letter: DeadLetter = { ...EMPTY, ...fields }
      const set = recordSetOf([{ offset: 5, value: letterType.encode(7, letter) }])
      const [read] = [...readLetters(set, (id) => id === 7)]
      expect(read).toEqual({
        offset: 5,
        stage: letter.stage,
        reason: letter.reason,
        kind: letter.kind,
        message: letter.message,
        topic: letter.topic,
        partition: letter.partition,
        sourceGeneration: letter.source_generation,
        sourceOffset: letter.source_offset,
        originGeneration: letter.origin_generation,
        originOffset: letter.origin_offset,
      })
      expect([...readLetters(set, () => false)]).toEqual([5])
    }),
  )
})

const EMPTY: DeadLetter = {
  stage: '',
  pipeline: 'p',
  reason: '',
  kind: 'rejected',
  message: '',
  tenant: '',
  event_id: null,
  topic: '',
  partition: 0,
  source_generation: GENERATION,
  source_offset: 0,
  origin_generation: '',
  origin_offset: -1,
  schema_id: null,
  key: null,
  value: Buffer.alloc(0),
  headers: {},
  attempts: 1,
  failed_at: 0,
  replay_of: null,
  original_bytes: null,
}

test('an id counts only when its schema begins like ours', async () => {
  const contract = await readContract('prediction')
  const fields = contract['fields'] as readonly { readonly name: string }[]
  const schemas = new Map([
    [1, contract],
    [2, { ...contract, fields: [...fields, { name: 'later', type: 'string', default: '' }] }],
    [3, { ...contract, fields: fields.filter(({ name }) => name !== 'segment') }],
    [4, { type: 'record', name: 'Other', fields: [] }],
  ])
  const layouts = createLayouts(memoryRegistry(schemas), contract, 'role')
  await layouts.prepare([1, 2, 3, 4, 5])
  expect([1, 2, 3, 4, 5, 6].map(layouts.known)).toEqual([true, true, false, false, false, false])
})
