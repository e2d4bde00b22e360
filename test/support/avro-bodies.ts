import { randomBytes } from 'node:crypto'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { WIRE_HEADER_BYTES } from '../../infra/runtime/avro/wire-format.ts'
import { fingerprintOf } from '../../ingest/mapping/avro/fingerprint.ts'
import { parseRecordSchema } from '../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'

/** Request bodies of records, as any Avro library makes them. */
export function avroBodies(schema: AvroSchema) {
  const type = parseAvroSchema(schema, 'test')
  const encoded = (record: unknown): Buffer => type.encode(1, record).subarray(WIRE_HEADER_BYTES)
  return {
    singleObject: (record: unknown): Buffer =>
      Buffer.concat([Buffer.from([0xc3, 0x01]), fingerprintOf(parseRecordSchema(schema)), encoded(record)]),
    container(records: readonly unknown[]): Buffer {
      const sync = randomBytes(16)
      const block = Buffer.concat(records.map(encoded))
      const meta = Buffer.concat([long(1), text('avro.schema'), text(JSON.stringify(schema)), long(0)])
      return Buffer.concat([Buffer.from('Obj\x01'), meta, sync, long(records.length), long(block.length), block, sync])
    },
  }
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([long(bytes.length), bytes])
}

/** Avro's zigzag varint, of a length. */
function long(value: number): Buffer {
  const bytes: number[] = []
  let rest = value * 2
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  return Buffer.from([...bytes, rest])
}
