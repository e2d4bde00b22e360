/** Avro schemas, read by hand so that the contracts need no Avro library: the subset that pipelines may use. */

const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const

type Primitive = (typeof PRIMITIVES)[number]

export type AvroType =
  | {
      readonly kind: 'primitive'
      readonly type: Primitive
      readonly logicalType: string | null
      readonly decimal?: Decimal
    }
  | { readonly kind: 'enum'; readonly name: string; readonly symbols: readonly string[] }
  | { readonly kind: 'fixed'; readonly name: string; readonly size: number; readonly decimal?: Decimal }
  | { readonly kind: 'array'; readonly items: AvroType }
  | { readonly kind: 'map'; readonly values: AvroType }
  | { readonly kind: 'union'; readonly branches: readonly AvroType[] }
  | AvroRecord

/** Of bytes or a fixed with logicalType decimal: the unscaled value is the number times 10^scale. */
export interface Decimal {
  readonly precision: number
  readonly scale: number
}

export interface AvroField {
  readonly name: string
  readonly type: AvroType
  readonly doc: string | null
  /** As the schema's JSON has it; undefined = the field has none. */
  readonly default?: unknown
}

export interface AvroRecord {
  readonly kind: 'record'
  /** Full name, with its namespace. */
  readonly name: string
  readonly doc: string | null
  readonly fields: readonly AvroField[]
}

/** What a field holds when it is a single value: the JavaScript type that a decoder hands out. */
export interface ScalarType {
  readonly js: 'number' | 'string' | 'boolean'
  readonly nullable: boolean
  /** Avro's own name of it, for messages. */
  readonly avro: string
  readonly timestampMillis: boolean
  /** Symbols of an enum, else null. */
  readonly symbols: readonly string[] | null
}

/** A schema that is not valid Avro; `path` is where in the file. */
export class AvroSchemaError extends Error {
  readonly path: string

  constructor(path: string, message: string) {
    super(message)
    this.name = 'AvroSchemaError'
    this.path = path
  }
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/

type Json = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPrimitive(name: string): name is Primitive {
  return (PRIMITIVES as readonly string[]).includes(name)
}

/** Reads a schema file's JSON, whose root must be a record. Throws AvroSchemaError. */
export function parseRecordSchema(json: unknown): AvroRecord {
  const type = parseType(json, '', '', new Map())
  if (type.kind !== 'record') throw new AvroSchemaError('', 'the schema must be an Avro record')
  return type
}

function parseType(json: unknown, path: string, namespace: string, named: Map<string, AvroType>): AvroType {
  if (typeof json === 'string') return reference(json, path, namespace, named)
  if (Array.isArray(json)) {
    const branches = json.map((branch, index) => parseType(branch, `${path}[${index}]`, namespace, named))
    if (branches.length === 0) throw new AvroSchemaError(path, 'a union needs at least one type')
    return { kind: 'union', branches }
  }
  if (!isObject(json)) throw new AvroSchemaError(path, 'an Avro type is expected here')
  const type = json['type']
  switch (type) {
    case 'record':
      return parseRecord(json, path, namespace, named)
    case 'enum': {
      const name = fullName(json, path, namespace)
      const symbols = json['symbols']
      if (!Array.isArray(symbols) || !symbols.every((s): s is string => typeof s === 'string' && NAME.test(s))) {
        throw new AvroSchemaError(at(path, 'symbols'), 'an enum needs a list of symbols, each a valid Avro name')
      }
      return register(named, name, path, { kind: 'enum', name, symbols })
    }
    case 'fixed': {
      const name = fullName(json, path, namespace)
      const size = json['size']
      if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
        throw new AvroSchemaError(at(path, 'size'), 'a fixed needs a size, a whole number of bytes')
      }
      return register(named, name, path, { kind: 'fixed', name, size, ...decimalOf(json) })
    }
    case 'array':
      return { kind: 'array', items: parseType(json['items'], at(path, 'items'), namespace, named) }
    case 'map':
      return { kind: 'map', values: parseType(json['values'], at(path, 'values'), namespace, named) }
    default: {
      const logicalType = json['logicalType']
      if (typeof type === 'string' && isPrimitive(type)) {
        const decimal = type === 'bytes' ? decimalOf(json) : {}
        return {
          kind: 'primitive',
          type,
          logicalType: typeof logicalType === 'string' ? logicalType : null,
          ...decimal,
        }
      }
      return parseType(type, path, namespace, named)
    }
  }
}

/** Nothing for a decimal that makes no sense: as Avro has it, such a one is plain bytes. */
function decimalOf(json: Json): { readonly decimal?: Decimal } {
  const { logicalType, precision, scale = 0 } = json
  if (logicalType !== 'decimal' || !isCount(precision) || !isCount(scale)) return {}
  return precision > 0 && scale <= precision ? { decimal: { precision, scale } } : {}
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function reference(name: string, path: string, namespace: string, named: Map<string, AvroType>): AvroType {
  if (isPrimitive(name)) return { kind: 'primitive', type: name, logicalType: null }
  const found = named.get(name.includes('.') || namespace === '' ? name : `${namespace}.${name}`) ?? named.get(name)
  if (found === undefined) throw new AvroSchemaError(path, `there is no Avro type named ${JSON.stringify(name)}`)
  return found
}

function parseRecord(json: Json, path: string, namespace: string, named: Map<string, AvroType>): AvroRecord {
  const name = fullName(json, path, namespace)
  const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
  const list = json['fields']
  if (!Array.isArray(list)) throw new AvroSchemaError(at(path, 'fields'), `record ${name} needs a list of fields`)
  const fields: AvroField[] = []
  const record: AvroRecord = { kind: 'record', name, doc: text(json['doc']), fields }
  // Registered before its fields are read: they may refer to it.
  register(named, name, path, record)
  const seen = new Set<string>()
  list.forEach((field: unknown, index) => {
    const where = at(path, `fields[${index}]`)
    if (!isObject(field)) throw new AvroSchemaError(where, 'a field must be an object with a name and a type')
    const fieldName = field['name']
    if (typeof fieldName !== 'string' || !NAME.test(fieldName)) {
      throw new AvroSchemaError(at(where, 'name'), `${JSON.stringify(fieldName)} is not a valid Avro field name`)
    }
    if (seen.has(fieldName)) throw new AvroSchemaError(at(where, 'name'), `the field ${fieldName} is there twice`)
    seen.add(fieldName)
    const type = parseType(field['type'], at(where, 'type'), inner, named)
    const given = field['default'] === undefined ? {} : { default: field['default'] }
    fields.push({ name: fieldName, type, doc: text(field['doc']), ...given })
  })
  return record
}

function register<T extends AvroType>(named: Map<string, AvroType>, name: string, path: string, type: T): T {
  if (named.has(name)) throw new AvroSchemaError(path, `the Avro type ${name} is defined twice`)
  named.set(name, type)
  return type
}

function fullName(json: Json, path: string, namespace: string): string {
  const name = json['name']
  if (typeof name !== 'string' || !name.split('.').every((part) => NAME.test(part))) {
    throw new AvroSchemaError(at(path, 'name'), `${JSON.stringify(name)} is not a valid Avro name`)
  }
  if (name.includes('.')) return name
  const own = text(json['namespace']) ?? namespace
  return own === '' ? name : `${own}.${name}`
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

function at(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`
}

/** The single value that a type holds, or null when it holds none (nested, bytes, or a choice of several). */
export function scalarOf(type: AvroType): ScalarType | null {
  if (type.kind === 'enum') {
    return { js: 'string', nullable: false, avro: 'enum', timestampMillis: false, symbols: type.symbols }
  }
  if (type.kind === 'union') {
    const values = type.branches.filter((branch) => !isNull(branch))
    const [only] = values
    const scalar = values.length === 1 && only !== undefined ? scalarOf(only) : null
    return scalar === null ? null : { ...scalar, nullable: scalar.nullable || values.length < type.branches.length }
  }
  if (type.kind !== 'primitive') return null
  const base = { nullable: false, avro: type.logicalType ?? type.type, symbols: null, timestampMillis: false }
  switch (type.type) {
    case 'int':
    case 'float':
    case 'double':
      return { ...base, js: 'number' }
    case 'long':
      return { ...base, js: 'number', timestampMillis: type.logicalType === 'timestamp-millis' }
    case 'string':
      return { ...base, js: 'string' }
    case 'boolean':
      return { ...base, js: 'boolean' }
    case 'null':
    case 'bytes':
      return null
  }
}

function isNull(type: AvroType): boolean {
  return type.kind === 'primitive' && type.type === 'null'
}

/** Whether null is a value of the type itself. */
export function mayBeNull(type: AvroType): boolean {
  return isNull(type) || (type.kind === 'union' && type.branches.some(isNull))
}

/** Short name of a type for messages: `nullable string`, `array`, `record`. */
export function describeType(type: AvroType): string {
  const scalar = scalarOf(type)
  if (scalar !== null) return `${scalar.nullable ? 'nullable ' : ''}${scalar.avro}`
  return type.kind === 'primitive' ? type.type : type.kind
}
