/** The features and checks of a definition, checked against the event's and the tables' schemas. */
import { isDeadLetterReason } from '../dead-letter-reasons.ts'
import type { AvroRecord, ScalarType } from './avro-schema.ts'
import { findScalar, isKeyType, type TableParts } from './compile-event.ts'
import type { CompiledCheck, CompiledFeature, FeatureType, KeyPart } from './compiled.ts'
import type { Cursor } from './cursor.ts'
import { suggest } from './problems.ts'

type Tables = ReadonlyMap<string, TableParts | null>
type Features = readonly CompiledFeature[]

export function compileFeatures(place: Cursor, event: AvroRecord, tables: Tables): Features {
  const entries = place.entries()
  if (entries?.length === 0) place.problem('a pipeline needs at least one feature')
  const features: CompiledFeature[] = []
  for (const [name, member] of entries ?? []) {
    if (/^\d+$/.test(name)) {
      member.problem('JavaScript puts names that are whole numbers before all others: give the feature another name')
    } else if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      member.problem(`${JSON.stringify(name)} is not a feature name: letters, digits and _, not a digit first`)
    }
    const feature = compileFeature(name, member, event, tables)
    if (feature !== null) features.push(feature)
  }
  return features
}

const FEATURE_FUNCTIONS = 'number(…), category(…), flag(…), derive(…) or lookup(…)'

function kindOf(place: Cursor): unknown {
  const { value } = place
  return typeof value === 'object' && value !== null && 'kind' in value ? value.kind : null
}

function compileFeature(name: string, place: Cursor, event: AvroRecord, tables: Tables): CompiledFeature | null {
  switch (kindOf(place)) {
    case 'number':
    case 'flag':
      return compilePlain(name, place, event)
    case 'category':
      return compileCategory(name, place, event)
    case 'derive': {
      const derived = compileDerived(place, event)
      if (derived === null) return null
      const compute = derived.compute as (CompiledFeature & { kind: 'derive' })['compute']
      return { ...derived, compute, name, type: { type: 'float32' }, missing: readMissing(place) }
    }
    case 'lookup':
      return compileLookup(name, place, event, tables)
    default:
      return place.problem(`a feature is one of ${FEATURE_FUNCTIONS}`)
  }
}

function readMissing(place: Cursor): number {
  const { missing } = Object.fromEntries(place.entries() ?? [])
  if (missing === undefined || !missing.given) return Number.NaN
  return missing.number(isFloat32, 'a number that a float32 can hold, or NaN') ?? Number.NaN
}

/** NaN included: it means missing to the model. */
function isFloat32(value: number): boolean {
  return Number.isNaN(value) || Number.isFinite(Math.fround(value))
}

function compilePlain(name: string, place: Cursor, event: AvroRecord): CompiledFeature | null {
  const members = place.object<'kind' | 'field' | 'missing'>(['kind', 'field'], ['missing'])
  if (members === null) return null
  const isFlag = members.kind.value === 'flag'
  const type = isFlag
    ? findScalar(members.field, event, 'a boolean, which flag() needs', (t) => t.js === 'boolean')
    : findScalar(members.field, event, 'a number, which number() needs', (t) => t.js === 'number')
  const missing = readMissing(place)
  if (type === null) return null
  const field = String(members.field.value)
  if (isFlag) return { kind: 'flag', name, field, missing, type: { type: 'flag' } }
  return { kind: 'number', name, field, missing, type: { type: 'float32' } }
}

function compileCategory(name: string, place: Cursor, event: AvroRecord): CompiledFeature | null {
  const optional = ['missing', 'unseen'] as const
  const members = place.object<'kind' | 'field' | 'values' | (typeof optional)[number]>(
    ['kind', 'field', 'values'],
    optional,
  )
  if (members === null) return null
  const isString = (t: ScalarType): boolean => t.js === 'string'
  const type = findScalar(members.field, event, 'a string or enum, which category() needs', isString)
  const values: string[] = []
  for (const member of members.values.list() ?? []) {
    const value = member.string(/^/, 'a text')
    if (value === null) continue
    if (values.includes(value)) member.problem(`the value ${JSON.stringify(value)} is there twice`)
    else if (type?.symbols && !type.symbols.includes(value)) {
      member.problem(`the enum ${String(members.field.value)} has no symbol ${value}${suggest(value, type.symbols)}`)
    }
    values.push(value)
  }
  if (Array.isArray(members.values.value) && members.values.value.length === 0) {
    members.values.problem('a category needs at least one value')
  }
  const unseen = members.unseen.given
    ? members.unseen.number(isFloat32, 'a number that a float32 can hold, or NaN')
    : -1
  const missing = readMissing(place)
  if (type === null) return null
  const field = String(members.field.value)
  return { kind: 'category', name, field, values, unseen: unseen ?? -1, missing, type: { type: 'category', values } }
}

/** derive(…), as a feature or as a part of a key. */
function compileDerived(place: Cursor, event: AvroRecord): (KeyPart & { readonly kind: 'derive' }) | null {
  const members = place.object<'kind' | 'fields' | 'compute' | 'missing'>(['kind', 'fields', 'compute'], ['missing'])
  if (members === null) return null
  const fields = compileFields(members.fields, event)
  const compute = members.compute.value
  if (typeof compute !== 'function') return members.compute.problem('a function of the fields is expected')
  return fields === null ? null : { kind: 'derive', fields, compute: compute as CompiledCompute }
}

type CompiledCompute = (KeyPart & { readonly kind: 'derive' })['compute']

function compileFields(place: Cursor, event: AvroRecord): readonly string[] | null {
  const members = place.list()
  if (members === null) return null
  if (members.length === 0) return place.problem('at least one field is needed')
  const types = members.map((member) => findScalar(member, event, 'a single value: nested fields cannot be used'))
  return types.includes(null) ? null : members.map((member) => String(member.value))
}

function compileLookup(name: string, place: Cursor, event: AvroRecord, tables: Tables): CompiledFeature | null {
  const members = place.object<'kind' | 'table' | 'column' | 'by' | 'missing'>(
    ['kind', 'table', 'column', 'by'],
    ['missing'],
  )
  const table = members?.table.string() ?? null
  if (members === null || table === null) return null
  const missing = readMissing(place)
  if (!tables.has(table))
    return members.table.problem(`there is no table ${table}${suggest(table, [...tables.keys()])}`)
  const parts = tables.get(table) ?? null
  // The table's own problem has been reported.
  if (parts === null) return null
  const isValue = (t: ScalarType): boolean => t.js !== 'string'
  const column = findScalar(members.column, parts.record, 'a number or boolean, which a feature must be', isValue)
  const by = compileKey(members.by, event, parts)
  if (column === null || by === null) return null
  const type: FeatureType = column.js === 'boolean' ? { type: 'flag' } : { type: 'float32' }
  return { kind: 'lookup', name, table, column: String(members.column.value), by, missing, type }
}

function compileKey(place: Cursor, event: AvroRecord, table: TableParts): readonly KeyPart[] | null {
  const { name, keyFields } = table.compiled
  const members = place.list()
  if (members === null) return null
  if (members.length !== keyFields.length) {
    return place.problem(
      `the key of ${name} has ${keyFields.length} parts (${keyFields.join(', ')}), ${members.length} are given`,
    )
  }
  const parts = members.map((member, index): KeyPart | null => {
    if (typeof member.value === 'object') {
      if (member.entries()?.some(([option, given]) => option === 'missing' && given.given)) {
        return member.problem('a part of a key has no value for missing: a lookup without a key finds nothing')
      }
      return compileDerived(member, event)
    }
    const type = findScalar(member, event, 'a string, enum, int or long, which a key must be', isKeyType)
    if (type === null) return null
    const wanted = table.keyTypes[index]
    if (wanted && wanted.js !== type.js) {
      return member.problem(`${String(member.value)} is ${type.avro}, the key's ${keyFields[index]} is ${wanted.avro}`)
    }
    return { kind: 'field', field: String(member.value) }
  })
  return parts.every((part) => part !== null) ? parts : null
}

export function compileChecks(place: Cursor, event: AvroRecord): readonly CompiledCheck[] {
  const checks: CompiledCheck[] = []
  for (const member of place.list() ?? []) {
    if (kindOf(member) !== 'check') {
      member.problem('a check is written check(name, fields, test)')
      continue
    }
    const members = member.object(['kind', 'name', 'fields', 'test'])
    const name = members?.name.string(/^[a-z][a-z0-9_]*$/, 'a reason: lower-case letters, digits and _, a letter first')
    if (!members || !name) continue
    if (isDeadLetterReason(name)) members.name.problem(`${name} is one of the built-in reasons`)
    if (checks.some((other) => other.name === name)) members.name.problem(`there are two checks named ${name}`)
    const fields = compileFields(members.fields, event)
    const test = members.test.value
    if (typeof test !== 'function') members.test.problem('a function of the fields is expected')
    else checks.push({ name, fields: fields ?? [], test: test as CompiledCheck['test'] })
  }
  return checks
}
