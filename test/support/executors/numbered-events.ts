import { parseAvroSchema } from '../../../infra/runtime/avro/avro-type.ts'
import { WIRE_HEADER_BYTES, writeWireHeader } from '../../../infra/runtime/avro/wire-format.ts'
import { retryable } from '../../../infra/runtime/errors.ts'
import type { Outcome } from '../../../infra/runtime/kafka/outcome.ts'
import { slicesOf } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../../infra/runtime/stage-contracts.ts'
import type { FeatureVector } from '../../../schemas/generated/records.ts'
import { fastAndSlow } from './fast-and-slow.ts'
import type { CreateHandler } from './hop-settings.ts'

/*
 * Events that are nothing but a number: the wire format's header, then `<partition>-<number>` as an Avro string. Each becomes a vector of
 * that number, or a dead letter.
 */

const SCHEMA_ID = 1
/** A call that fails as if a dependency was down; a batch that waits in its middle. */
const FAILS = 0.02
const DEFERS = 0.01

export function numberedEvent(partition: number, number: number): Buffer {
  const id = `${partition}-${number}`
  const value = Buffer.alloc(WIRE_HEADER_BYTES + 1 + id.length)
  writeWireHeader(value, SCHEMA_ID)
  // the length, zigzag: one byte up to 63
  value[WIRE_HEADER_BYTES] = id.length * 2
  value.write(id, WIRE_HEADER_BYTES + 1, 'latin1')
  return value
}

export function isRefused(number: number): boolean {
  return number % 37 === 5
}

export const createHandler: CreateHandler = async ({ generation, output, random }) => {
  const type = parseAvroSchema(await readContract('feature-vector'), 'feature-vector')

  function vectorOf(eventId: string, offset: number): Buffer {
    const vector: FeatureVector = {
      event_id: eventId,
      tenant: '',
      segment: '',
      event_time: 0,
      ingested_at: 0,
      event_schema_id: SCHEMA_ID,
      origin_generation: generation,
      origin_offset: offset,
      source_generation: generation,
      source_offset: offset,
      feature_set: '',
      features: [offset],
      degraded: false,
      traceparent: null,
    }
    return type.encode(SCHEMA_ID, vector)
  }

  function decide({ batch, reject, emitColumns }: Outcome): void {
    const sources: number[] = []
    const made: Buffer[] = []
    for (let index = 0; index < batch.length; index++) {
      const eventId = batch.value(index)?.toString('latin1', WIRE_HEADER_BYTES + 1) ?? ''
      if (isRefused(Number(eventId.split('-')[1]))) {
        reject(index, { kind: 'rejected', reason: 'check_failed', message: 'the number', eventId })
        continue
      }
      sources.push(index)
      made.push(vectorOf(eventId, batch.offset(index)))
    }
    const keys = slicesOf(made.map(() => null))
    const values = slicesOf(made)
    // memory that serves others afterwards: who still reads it then reads nonsense
    const release = (): void => void values.bytes.fill(0xff)
    const subjectOf = (): object => ({})
    emitColumns(output, { length: made.length, sources: Int32Array.from(sources), keys, values, subjectOf, release })
  }

  const handler = {
    async handle(outcomes: readonly Outcome[]): Promise<void> {
      if (random.chance(FAILS)) throw retryable('down', 'a dependency is down')
      for (const outcome of outcomes) {
        decide(outcome)
        if (random.chance(DEFERS)) outcome.defer(random.between(0, outcome.batch.length - 1), 'not_now', 'it waits')
      }
    },
  }
  return { handler: fastAndSlow(handler, random.fork('executors')) }
}
