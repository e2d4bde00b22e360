/** The event, tables, label and model of a definition, checked against their schemas. */
import path from 'node:path'
import { eventsTopic, stageTopic, tableTopic, valueSubject } from '../topics.ts'
import { type AvroField, type AvroRecord, describeType, mayBeNull, type ScalarType, scalarOf } from './avro-schema.ts'
import type { AvroSchema, CompiledEvent, CompiledLabel, CompiledModelChoice, CompiledTable } from './compiled.ts'
import type { Cursor } from './cursor.ts'
import { NAME, NAME_EXPECTED } from './manifest.ts'
import { suggest } from './problems.ts'

/** A schema file of the folder: as an Avro library takes it, and as it was read. */
export interface LoadedSchema {
  readonly json: AvroSchema
  readonly record: AvroRecord
}

/** Reads the schema file that the definition names here. Null after its problem was reported. */
export type SchemaReader = (place: Cursor) => LoadedSchema | null

const DAY_MS = 86_400_000
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS }

/** Milliseconds of `20ms`, `2s`, `5m`, `3h`, `7d`. */
export function readDuration(place: Cursor): number | null {
  const text = place.string(/^\d+(\.\d+)?(ms|s|m|h|d)$/, 'a duration such as 20ms, 2s, 5m, 3h or 7d')
  const [, amount, unit = ''] = /^([\d.]+)(\w+)$/.exec(text ?? '') ?? []
  if (text === null || amount === undefined) return null
  const ms = Number(amount) * (UNIT_MS[unit] ?? Number.NaN)
  return Number.isSafeInteger(ms) && ms > 0 ? ms : place.problem(`${text} is not a whole number of ms above 0`)
}

/** The field that is named here. Reports an unknown one, with what was probably meant. */
function findField(place: Cursor, record: AvroRecord): AvroField | null {
  const name = place.string()
  if (name === null) return null
  const field = record.fields.find((candidate) => candidate.name === name)
  if (field !== undefined) return field
  const names = record.fields.map((candidate) => candidate.name)
  return place.problem(`there is no field ${name} in ${record.name}${suggest(name, names)}`)
}

/** As findField, for a field that must hold what `accept` accepts. */
export function findScalar(
  place: Cursor,
  record: AvroRecord,
  expected: string,
  accept: (type: ScalarType) => boolean = () => true,
): ScalarType | null {
  const field = findField(place, record)
  if (field === null) return null
  const scalar = scalarOf(field.type)
  if (scalar !== null && accept(scalar)) return scalar
  return place.problem(`the field ${field.name} of ${record.name} is ${describeType(field.type)}, not ${expected}`)
}

export function isKeyType(type: ScalarType): boolean {
  return type.js === 'string' || type.avro === 'int' || type.avro === 'long' || type.timestampMillis
}

function isId(type: ScalarType): boolean {
  return type.js === 'string' && type.symbols === null && !type.nullable
}

function isTime(type: ScalarType): boolean {
  return type.timestampMillis && !type.nullable
}

const ID_EXPECTED = 'a string that is never null, which an id must be'
const TIME_EXPECTED = 'a long with logicalType timestamp-millis that is never null, which a time must be'
const KEY_EXPECTED = 'a string, enum, int or long, which a key must be'

function fieldName(place: Cursor): string {
  return typeof place.value === 'string' ? place.value : ''
}

export function compileEvent(pipeline: string, place: Cursor, schemaOf: SchemaReader): EventParts | null {
  const optional = ['key', 'segment', 'tenant', 'topic', 'subject', 'retention'] as const
  const event = place.object<'schema' | 'id' | 'time' | (typeof optional)[number]>(['schema', 'id', 'time'], optional)
  if (event === null) return null
  const topic = event.topic.given
    ? event.topic.string(/^[A-Za-z0-9._-]{1,249}$/, 'a topic name')
    : eventsTopic(pipeline)
  const subject = event.subject.given ? event.subject.string() : valueSubject(topic ?? '')
  const retentionMs = event.retention.given ? readDuration(event.retention) : null
  if (event.topic.given && event.retention.given) {
    event.retention.problem('the topic exists already: how long it is kept is not for this pipeline to say')
  }
  const tenant = readTenant(event.tenant)
  const schema = schemaOf(event.schema)
  if (schema === null) return null
  const { record, json } = schema
  findScalar(event.id, record, ID_EXPECTED, isId)
  findScalar(event.time, record, TIME_EXPECTED, isTime)
  if (event.key.given) findScalar(event.key, record, KEY_EXPECTED, isKeyType)
  if (event.segment.given) {
    findScalar(event.segment, record, 'a string, enum, int, long or boolean', (t) => isKeyType(t) || t.js === 'boolean')
  }
  return {
    record,
    compiled: {
      topic: topic ?? '',
      owned: !event.topic.given,
      subject: subject ?? '',
      schema: json,
      retentionMs,
      idField: fieldName(event.id),
      keyField: event.key.given ? fieldName(event.key) : null,
      timeField: fieldName(event.time),
      segmentField: event.segment.given ? fieldName(event.segment) : null,
      tenant,
    },
  }
}

export interface EventParts {
  readonly record: AvroRecord
  readonly compiled: CompiledEvent
}

function readTenant(place: Cursor): CompiledEvent['tenant'] {
  if (typeof place.value !== 'object') return { fixed: place.given ? (place.string() ?? '') : 'default' }
  const tenant = place.object(['header'])
  if (tenant?.header.given && tenant.header.value !== true) tenant.header.problem('only true has a meaning here')
  return { from: 'header' }
}

export interface TableParts {
  readonly record: AvroRecord
  readonly keyTypes: readonly (ScalarType | null)[]
  readonly compiled: CompiledTable
}

const STAGE_TOPICS = ['events', 'features', 'predictions', 'shadow', 'labels', 'dead-letters']

/** Tables by name. One whose schema cannot be read is reported and left out. */
export function compileTables(
  pipeline: string,
  place: Cursor,
  schemaOf: SchemaReader,
): ReadonlyMap<string, TableParts | null> {
  const tables = new Map<string, TableParts | null>()
  for (const [name, member] of place.entries() ?? []) {
    if (!/^[a-z][a-z0-9_-]*$/.test(name)) {
      member.problem(`${JSON.stringify(name)} is not a table name: lower-case letters, digits, - and _, a letter first`)
    } else if (STAGE_TOPICS.includes(name)) {
      member.problem(`a table may not be named ${name}: the topic ${tableTopic(pipeline, name)} is another one`)
    }
    tables.set(name, compileTable(pipeline, name, member, schemaOf))
  }
  return tables
}

function compileTable(pipeline: string, name: string, place: Cursor, schemaOf: SchemaReader): TableParts | null {
  const required = ['schema', 'key', 'time', 'maxAge'] as const
  const table = place.object<(typeof required)[number] | 'onUnavailable'>(required, ['onUnavailable'])
  if (table === null) return null
  const maxAgeMs = readDuration(table.maxAge)
  const onUnavailable = readUnavailable(table.onUnavailable)
  const schema = schemaOf(table.schema)
  if (schema === null) return null
  const { record, json } = schema
  findScalar(table.time, record, TIME_EXPECTED, isTime)
  const keys = typeof table.key.value === 'string' ? [table.key] : (table.key.list() ?? [])
  if (table.key.given && keys.length === 0) table.key.problem('a key needs at least one field')
  const keyFields = keys.map(fieldName)
  const repeated = keyFields.find((field, index) => keyFields.indexOf(field) !== index)
  if (repeated !== undefined) table.key.problem(`the field ${repeated} is there twice`)
  const keyTypes = keys.map((key) =>
    findScalar(key, record, `${KEY_EXPECTED} and never null`, (type) => isKeyType(type) && !type.nullable),
  )
  const topic = tableTopic(pipeline, name)
  const compiled: CompiledTable = {
    name,
    topic,
    subject: valueSubject(topic),
    schema: json,
    keyFields,
    timeField: fieldName(table.time),
    maxAgeMs: maxAgeMs ?? 0,
    onUnavailable,
  }
  return { record, keyTypes, compiled }
}

function readUnavailable(place: Cursor): CompiledTable['onUnavailable'] {
  if (place.value === 'pause') return { policy: 'pause' }
  if (!place.given || place.value === 'degrade') return { policy: 'degrade', afterMs: 2000 }
  if (typeof place.value === 'string') place.problem(`${JSON.stringify(place.value)} is not one of degrade, pause`)
  const after = typeof place.value === 'string' ? null : place.object(['degradeAfter'])
  return { policy: 'degrade', afterMs: (after && readDuration(after.degradeAfter)) ?? 2000 }
}

export function compileLabel(pipeline: string, place: Cursor, schemaOf: SchemaReader): LabelParts | null {
  const label = place.object(['schema', 'id', 'time', 'value'])
  if (label === null) return null
  const value = label.value.value
  if (label.value.given && typeof value !== 'function')
    label.value.problem('a function of the label record is expected')
  const schema = schemaOf(label.schema)
  if (schema === null) return null
  const { record, json } = schema
  findScalar(label.id, record, ID_EXPECTED, isId)
  findScalar(label.time, record, TIME_EXPECTED, isTime)
  const topic = stageTopic(pipeline, 'labels')
  return {
    record,
    compiled: {
      topic,
      subject: valueSubject(topic),
      schema: json,
      idField: fieldName(label.id),
      timeField: fieldName(label.time),
      value: value as CompiledLabel['value'],
      withdrawable: record.fields.some(({ type }) => mayBeNull(type)),
    },
  }
}

export interface LabelParts {
  readonly record: AvroRecord
  readonly compiled: CompiledLabel
}

const MODEL_KEYS = ['name', 'alias', 'output', 'budget'] as const
const MODEL_OPTIONS = ['directory', 'deadline', 'provider', 'fallback'] as const

export function compileModelChoice(folder: string, place: Cursor): CompiledModelChoice | null {
  const model = place.object<(typeof MODEL_KEYS)[number] | (typeof MODEL_OPTIONS)[number]>(MODEL_KEYS, MODEL_OPTIONS)
  const output = model?.output.object<'tensor' | 'index'>(['tensor'], ['index'])
  if (!model || !output) return null
  const name = model.name.string(NAME, NAME_EXPECTED)
  const alias = model.alias.string(NAME, NAME_EXPECTED)
  const tensor = output.tensor.string()
  const index = output.index.number((n) => Number.isInteger(n) && n >= 0, 'the position of an output, 0 or above')
  const budgetMs = readDuration(model.budget)
  const directory = model.directory.given ? model.directory.string() : './models'
  if (name === null || alias === null || tensor === null || budgetMs === null || directory === null) return null
  return {
    name,
    alias,
    directory: path.resolve(folder, directory),
    output: { tensor, index: index ?? 'max' },
    budgetMs,
    deadlineMs: model.deadline.given ? readDuration(model.deadline) : null,
    provider: readProvider(model.provider),
    fallback: model.fallback.given ? readFallback(model.fallback, model.deadline.given) : null,
  }
}

function readProvider(place: Cursor): CompiledModelChoice['provider'] {
  if (!place.given) return { name: 'cpu', demand: 'require' }
  const members = place.object<'require' | 'prefer'>([], ['require', 'prefer'])
  const demand = members?.require.given ? 'require' : 'prefer'
  if (members?.require.given === members?.prefer.given) place.problem('either require or prefer is expected')
  return { name: members?.[demand].oneOf(['cpu', 'cuda']) ?? 'cpu', demand }
}

function readFallback(place: Cursor, hasDeadline: boolean): CompiledModelChoice['fallback'] {
  const members = place.object<'score' | 'label' | 'when'>(['score', 'when'], ['label'])
  const cases = (members?.when.list() ?? []).map((each) => each.oneOf(['late', 'invalid']))
  if (members?.when.given && cases.length === 0) members.when.problem('late, invalid or both are expected')
  if (cases.includes('late') && !hasDeadline) members?.when.problem('nothing is ever late without a deadline')
  const isFloat32 = (n: number): boolean => Number.isFinite(Math.fround(n))
  const score = members?.score.number(isFloat32, 'a finite number that a float32 can hold') ?? 0
  const label = members?.label.string() ?? null
  return { score, label, late: cases.includes('late'), invalid: cases.includes('invalid') }
}
