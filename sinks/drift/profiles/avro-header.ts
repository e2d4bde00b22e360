import { open } from 'node:fs/promises'
import { fatal } from '../../../infra/runtime/errors.ts'
import { parseRecordSchema, scalarOf } from '../../../schemas/pipeline/avro-schema.ts'

/*
 * The header of an Avro container file: `Obj` and 1, then a map of texts to bytes in blocks, each a zigzag varint count (below 0: its
 * size in bytes comes next) and so many pairs of length and content; a count of 0 ends it. `avro.schema` is the schema as JSON.
 */
const MAGIC_BYTES = 4
/** Far more than any schema has. */
const HEAD_BYTES = 1_048_576

/** What the file's records have, by name: numbers (and booleans), texts (and enums), or neither. Throws `reference_unreadable` (crash). */
export async function avroFieldTypes(file: string): Promise<ReadonlyMap<string, 'number' | 'text' | 'other'>> {
  const handle = await open(file)
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0)
    const record = parseRecordSchema(JSON.parse(schemaText(buffer.subarray(0, bytesRead))))
    return new Map(
      record.fields.map(({ name, type }) => {
        const scalar = scalarOf(type)
        if (scalar === null) return [name, 'other']
        return [name, scalar.js === 'string' ? 'text' : 'number']
      }),
    )
  } catch (error) {
    throw fatal('reference_unreadable', `${file} has no header of an Avro file: ${(error as Error).message}`, error)
  } finally {
    await handle.close()
  }
}

function schemaText(head: Buffer): string {
  let at = MAGIC_BYTES
  const long = (): number => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = head.readUInt8(at)
      at += 1
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return Number((value >> 1n) ^ -(value & 1n))
    }
  }
  const bytes = (): Buffer => {
    const length = long()
    if (length < 0 || at + length > head.length) throw new RangeError('it is cut off')
    at += length
    return head.subarray(at - length, at)
  }
  for (let count = long(); count !== 0; count = long()) {
    if (count < 0) long()
    for (let pair = 0; pair < Math.abs(count); pair++) {
      const name = bytes().toString()
      const value = bytes()
      if (name === 'avro.schema') return value.toString()
    }
  }
  throw new RangeError('it names no schema')
}
