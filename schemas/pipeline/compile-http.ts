/** The gateway's mapping of a definition, checked against the event's schema. */
import { type AvroRecord, type AvroType, type ScalarType, scalarOf } from './avro-schema.ts'
import { type EventParts, findScalar } from './compile-event.ts'
import type { CompiledHttpMapping, Scalar } from './compiled.ts'
import type { Cursor } from './cursor.ts'
import { suggest } from './problems.ts'

const HEADER = /^[a-z0-9][a-z0-9_-]*$/
/** Headers that mean something to the gateway, or to what lies before it. */
const TAKEN = ['authorization', 'connection', 'content-encoding', 'content-length', 'content-type', 'cookie', 'host']
const TAKEN_HERE = ['idempotency-key', 'traceparent', 'tracestate', 'transfer-encoding', 'x-api-key']

const INT_END = 2 ** 31

export function compileHttp(place: Cursor, { record, compiled: { idField } }: EventParts): CompiledHttpMapping | null {
  const http = place.object<'payload' | 'headers'>([], ['payload', 'headers'])
  if (http === null) return null
  const payload = http.payload.object<'rename' | 'constant' | 'drop'>([], ['rename', 'constant', 'drop'])
  const names = record.fields.map(({ name }) => name)
  const constants = (payload?.constant.entries() ?? []).map(([field, member]) => {
    return { field, value: readConstant(field, member, record), member }
  })
  const headers = (http.headers.entries() ?? []).map(([header, member]) => {
    checkHeader(header, member)
    findScalar(member, record, 'a single value, which a header is')
    return { header, field: textOf(member), member }
  })
  const from = new Map<string, string>()
  for (const { field, member } of [...constants, ...headers]) {
    const other = from.get(field)
    if (field === idField) member.problem(`the field ${field} is the event's id, which every event has for itself`)
    else if (other !== undefined) member.problem(`the field ${field} has its value from ${other} already`)
    from.set(field, member.path)
  }
  const rename = (payload?.rename.entries() ?? []).map(([name, member]) => {
    const to = member.string() ?? ''
    if (names.includes(name)) member.problem(`${name} is a field of ${record.name} itself`)
    if (member.given && to !== '' && !names.includes(to)) {
      member.problem(`there is no field ${to} in ${record.name}${suggest(to, names)}`)
    }
    const other = from.get(to)
    if (other !== undefined) member.problem(`the field ${to} has its value from ${other} already`)
    return { from: name, to }
  })
  const drop = (payload?.drop.list() ?? []).map((member, index, all) => {
    const name = member.string() ?? ''
    const renamed = rename.some((entry) => entry.from === name)
    if (names.includes(name)) member.problem(`${name} is a field of ${record.name}: only what it lacks can be dropped`)
    else if (renamed) member.problem(`${name} is the other name of a field`)
    else if (all.findIndex(({ value }) => value === name) < index) member.problem(`${name} is there twice`)
    return name
  })
  return {
    rename,
    constants: constants.map(({ field, value }) => ({ field, value })),
    drop,
    headers: headers.map(({ header, field }) => ({ header, field })),
  }
}

function textOf({ value }: Cursor): string {
  return typeof value === 'string' ? value : ''
}

function checkHeader(header: string, place: Cursor): void {
  if (!HEADER.test(header)) place.problem(`${JSON.stringify(header)} is not the name of a header in lower case`)
  else if ([...TAKEN, ...TAKEN_HERE].includes(header) || header.startsWith('millrace-')) {
    place.problem(`the header ${header} has another meaning`)
  }
}

function readConstant(field: string, place: Cursor, record: AvroRecord): Scalar {
  const found = record.fields.find(({ name }) => name === field)
  if (found === undefined) {
    const names = record.fields.map(({ name }) => name)
    return place.problem(`there is no field ${field} in ${record.name}${suggest(field, names)}`)
  }
  const scalar = scalarOf(found.type)
  if (scalar === null) return place.problem(`the field ${field} of ${record.name} is no single value`)
  const { value } = place
  const fits = value === null ? scalar.nullable : isValue(value, scalar, valueType(found.type))
  return fits ? (value as Scalar) : place.problem(`this is no ${scalar.avro}, which the field ${field} is`)
}

/** The type beside null. */
function valueType(type: AvroType): AvroType {
  return type.kind === 'union' ? (type.branches.find((branch) => scalarOf(branch) !== null) ?? type) : type
}

const TIME_OF_DAY_END: Readonly<Record<string, number>> = { 'time-millis': 86_400_000, 'time-micros': 86_400_000_000 }

function isValue(value: unknown, { js, symbols }: ScalarType, type: AvroType): boolean {
  if (js === 'boolean') return typeof value === 'boolean'
  const logical = type.kind === 'primitive' ? type.logicalType : null
  if (js === 'string') {
    if (typeof value !== 'string' || !value.isWellFormed()) return false
    if (logical === 'uuid') return /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/.test(value)
    return symbols === null || symbols.includes(value)
  }
  if (typeof value !== 'number' || type.kind !== 'primitive') return false
  const end = TIME_OF_DAY_END[logical ?? '']
  if (end !== undefined) return Number.isInteger(value) && value >= 0 && value < end
  switch (type.type) {
    case 'int':
      return Number.isInteger(value) && value >= -INT_END && value < INT_END
    case 'long':
      return Number.isSafeInteger(value)
    case 'float':
      return Number.isFinite(Math.fround(value))
    default:
      return Number.isFinite(value)
  }
}
