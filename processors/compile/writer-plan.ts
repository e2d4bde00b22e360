import {
  type AvroRecord,
  AvroSchemaError,
  type AvroType,
  parseRecordSchema,
  scalarOf,
} from '../../schemas/pipeline/avro-schema.ts'
import type { AvroSchema, Scalar } from '../../schemas/pipeline/compiled.ts'
import { compileSkip, type Skip } from './skip.ts'

export type ScalarKind = 'string' | 'enum' | 'boolean' | 'int' | 'long' | 'float' | 'double'

/** One field of the writer's record, in its order. */
export type PlannedField = PlannedScalar | { readonly skip: Skip }

export interface PlannedScalar {
  /** Name of the field in the pipeline's schema; null = it is moved over. */
  readonly read: string | null
  readonly kind: ScalarKind
  /** Symbols of an enum, by the writer's index. */
  readonly symbols: readonly string[]
  /** Of a union: the index of the value, and of null (-1 = never null). */
  readonly union: { readonly valueAt: number; readonly nullAt: number } | null
}

export interface WriterPlan {
  readonly fields: readonly PlannedField[]
  /** What the reader's schema gives the fields that the writer's lacks. */
  readonly defaults: ReadonlyMap<string, Scalar>
}

/** From which kinds a value becomes one of this kind unchanged. */
const PROMOTIONS: Readonly<Record<ScalarKind, readonly ScalarKind[]>> = {
  string: ['string'],
  enum: ['enum'],
  boolean: ['boolean'],
  int: ['int'],
  long: ['int', 'long'],
  float: ['int', 'long', 'float'],
  double: ['int', 'long', 'float', 'double'],
}

/**
 * How records of a writer's schema are read by position, where `needed` are fields of the reader's schema. The schemas are
 * known to be compatible. Null where that takes the Avro library: aliases, several types in one union, renamed or nested
 * types that differ.
 */
export function planWriter(writer: AvroSchema, reader: AvroSchema, needed: ReadonlySet<string>): WriterPlan | null {
  if (JSON.stringify(reader).includes('"aliases"')) return null
  const written = parse(writer)
  const wanted = parse(reader)
  if (written === null || wanted === null) return null
  const fields: PlannedField[] = []
  for (const { name, type } of written.fields) {
    const target = wanted.fields.find((field) => field.name === name)
    const field = planField(name, type, target?.type ?? null, needed.has(name))
    if (field === null) return null
    fields.push(field)
  }
  const defaults = new Map<string, Scalar>()
  for (const name of needed) {
    if (written.fields.some((field) => field.name === name)) continue
    const value = defaultOf(reader, name)
    if (value === undefined) return null
    defaults.set(name, value)
  }
  return { fields, defaults }
}

function parse(schema: AvroSchema): AvroRecord | null {
  try {
    return parseRecordSchema(schema)
  } catch (error) {
    if (error instanceof AvroSchemaError) return null
    throw error
  }
}

function planField(name: string, type: AvroType, target: AvroType | null, needed: boolean): PlannedField | null {
  const from = scalarIn(type)
  const to = target === null ? null : scalarIn(target)
  const fits = from !== null && to !== null && resolves(from, to)
  if (fits) return { ...from, read: needed ? name : null }
  if (needed || (target !== null && !sameType(type, target, []))) return null
  const skip = compileSkip(type, target !== null)
  return skip === null ? null : { skip }
}

type ScalarIn = Omit<PlannedScalar, 'read'>

/** The single value that a type holds, and where it stands in the type's union. */
function scalarIn(type: AvroType): ScalarIn | null {
  if (scalarOf(type) === null) return null
  const valueAt = type.kind === 'union' ? type.branches.findIndex((branch) => scalarOf(branch) !== null) : 0
  const value = type.kind === 'union' ? (type.branches[valueAt] as AvroType) : type
  const union = type.kind !== 'union' ? null : { valueAt, nullAt: type.branches.length === 1 ? -1 : 1 - valueAt }
  if (type.kind === 'union' && type.branches.length > 2) return null
  if (value.kind === 'enum') return { kind: 'enum', symbols: value.symbols, union }
  return value.kind === 'primitive' ? { kind: value.type as ScalarKind, symbols: [], union } : null
}

function resolves(from: ScalarIn, to: ScalarIn): boolean {
  return (
    PROMOTIONS[to.kind].includes(from.kind) &&
    from.symbols.every((symbol) => to.symbols.includes(symbol)) &&
    !(mayBeNull(from) && !mayBeNull(to))
  )
}

function mayBeNull({ union }: ScalarIn): boolean {
  return union !== null && union.nullAt !== -1
}

/** The same shape under the same names: nothing for the reader to resolve. */
function sameType(a: AvroType, b: AvroType, around: readonly AvroType[]): boolean {
  if (around.includes(a)) return false
  const same = (one: AvroType | undefined, other: AvroType | undefined): boolean =>
    one !== undefined && other !== undefined && sameType(one, other, [...around, a])
  switch (a.kind) {
    case 'primitive':
      return b.kind === 'primitive' && a.type === b.type
    case 'enum':
      return b.kind === 'enum' && a.name === b.name && a.symbols.join() === b.symbols.join()
    case 'fixed':
      return false
    case 'array':
      return b.kind === 'array' && same(a.items, b.items)
    case 'map':
      return b.kind === 'map' && same(a.values, b.values)
    case 'union':
      return (
        b.kind === 'union' &&
        a.branches.length === b.branches.length &&
        a.branches.every((branch, at) => same(branch, b.branches[at]))
      )
    case 'record':
      return (
        b.kind === 'record' &&
        a.name === b.name &&
        a.fields.length === b.fields.length &&
        a.fields.every((field, at) => field.name === b.fields[at]?.name && same(field.type, b.fields[at]?.type))
      )
  }
}

/** Undefined when it is no single value. */
function defaultOf(reader: AvroSchema, name: string): Scalar | undefined {
  const fields = reader['fields'] as readonly Readonly<Record<string, unknown>>[]
  const value = fields.find((field) => field['name'] === name)?.['default']
  return value === null || ['string', 'number', 'boolean'].includes(typeof value) ? (value as Scalar) : undefined
}
