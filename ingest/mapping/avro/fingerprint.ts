import type { AvroRecord, AvroType } from '../../../schemas/pipeline/avro-schema.ts'

const EMPTY = 0xc15d213aa4d7a795n
const TABLE = Array.from({ length: 256 }, (_, index) => {
  let crc = BigInt(index)
  for (let bit = 0; bit < 8; bit++) crc = (crc >> 1n) ^ (EMPTY & -(crc & 1n))
  return crc
})

/** CRC-64-AVRO of the schema's canonical form, little-endian as single-object encoding has it. */
export function fingerprintOf(record: AvroRecord): Buffer {
  let crc = EMPTY
  for (const byte of Buffer.from(canonicalForm(record))) {
    crc = (crc >> 8n) ^ (TABLE[Number((crc ^ BigInt(byte)) & 0xffn)] as bigint)
  }
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(crc)
  return bytes
}

/** Parsing Canonical Form: schemas that have the same one are written and read alike. */
export function canonicalForm(record: AvroRecord): string {
  const said = new Set<string>()
  const named = (name: string, form: () => string): string => {
    if (said.has(name)) return JSON.stringify(name)
    said.add(name)
    return form()
  }
  const formOf = (type: AvroType): string => {
    switch (type.kind) {
      case 'primitive':
        return JSON.stringify(type.type)
      case 'array':
        return `{"type":"array","items":${formOf(type.items)}}`
      case 'map':
        return `{"type":"map","values":${formOf(type.values)}}`
      case 'union':
        return `[${type.branches.map(formOf).join(',')}]`
      case 'enum':
        return named(type.name, () => `{"name":"${type.name}","type":"enum","symbols":${JSON.stringify(type.symbols)}}`)
      case 'fixed':
        return named(type.name, () => `{"name":"${type.name}","type":"fixed","size":${type.size}}`)
      case 'record':
        return named(type.name, () => {
          const fields = type.fields.map((field) => `{"name":"${field.name}","type":${formOf(field.type)}}`)
          return `{"name":"${type.name}","type":"record","fields":[${fields.join(',')}]}`
        })
    }
  }
  return formOf(record)
}
