/** Avro record schemas → TypeScript interfaces of what a decoder hands out and an encoder takes. */
import type { AvroRecord, AvroType } from './avro-schema.ts'

export interface GeneratedRecords {
  readonly event: AvroRecord
  readonly label: AvroRecord | null
  readonly tables: Readonly<Record<string, AvroRecord>>
}

/** The text of a pipeline's `generated/records.ts`: its interfaces, and `Records`, which `definePipeline` is given. */
export function pipelineTypes(records: GeneratedRecords): string {
  const tables = Object.entries(records.tables)
  const roots = [records.event, ...(records.label === null ? [] : [records.label]), ...tables.map(([, table]) => table)]
  const names = interfaceNames(roots)
  const nameOf = (record: AvroRecord): string => names.get(record.name) ?? record.name
  const rows = tables.map(([name, table]) => `    readonly ${propertyName(name)}: ${nameOf(table)}`)
  const all = [
    '/** What `definePipeline` is typed with. */',
    'export interface Records {',
    `  readonly event: ${nameOf(records.event)}`,
    `  readonly label: ${records.label === null ? 'null' : nameOf(records.label)}`,
    rows.length === 0 ? '  readonly tables: Record<never, never>' : `  readonly tables: {\n${rows.join('\n')}\n  }`,
    '}',
  ]
  return `${header("the pipeline's Avro schemas", 'millrace generate')}\n${interfaces(roots, names)}\n${all.join('\n')}\n`
}

/** The text of a module with one exported interface for each of the records (and for the records inside them). */
export function recordTypes(roots: readonly AvroRecord[], source: string, command: string): string {
  return `${header(source, command)}\n${interfaces(roots, interfaceNames(roots))}`
}

function header(source: string, command: string): string {
  return `// Generated from ${source} by \`${command}\`. Do not edit.\n`
}

function interfaces(roots: readonly AvroRecord[], names: ReadonlyMap<string, string>): string {
  return [...collect(roots).values()].map((record) => interfaceText(record, names)).join('\n')
}

function interfaceText(record: AvroRecord, names: ReadonlyMap<string, string>): string {
  const lines = [...comment(record.doc, ''), `export interface ${names.get(record.name) ?? record.name} {`]
  for (const field of record.fields) {
    const unit = timeUnit(field.type)
    const doc = unit === null || field.doc?.includes('1970') ? field.doc : `${field.doc ?? ''} ${unit}`.trim()
    lines.push(...comment(doc, '  '), `  readonly ${field.name}: ${typeText(field.type, names)}`)
  }
  return `${[...lines, '}'].join('\n')}\n`
}

function comment(doc: string | null, indent: string): readonly string[] {
  if (doc === null) return []
  return [`${indent}/** ${doc.replaceAll('*/', '*\\/').replaceAll(/\s+/g, ' ').trim()} */`]
}

function timeUnit(type: AvroType): string | null {
  if (type.kind === 'union') return type.branches.map(timeUnit).find((unit) => unit !== null) ?? null
  if (type.kind !== 'primitive') return null
  switch (type.logicalType) {
    case 'timestamp-millis':
      return 'Milliseconds since 1970-01-01 UTC.'
    case 'timestamp-micros':
      return 'Microseconds since 1970-01-01 UTC.'
    case 'date':
      return 'Days since 1970-01-01.'
    default:
      return null
  }
}

function typeText(type: AvroType, names: ReadonlyMap<string, string>): string {
  switch (type.kind) {
    case 'primitive':
      return PRIMITIVE_TEXT[type.type]
    case 'enum':
      return type.symbols.map((symbol) => `'${symbol}'`).join(' | ')
    case 'fixed':
      return 'Buffer'
    case 'array':
      return `readonly ${parenthesised(typeText(type.items, names))}[]`
    case 'map':
      return `Readonly<Record<string, ${typeText(type.values, names)}>>`
    case 'record':
      return names.get(type.name) ?? type.name
    case 'union':
      return unionText(type.branches, names)
  }
}

const PRIMITIVE_TEXT = {
  null: 'null',
  boolean: 'boolean',
  int: 'number',
  long: 'number',
  float: 'number',
  double: 'number',
  bytes: 'Buffer',
  string: 'string',
} as const

/** A union's values are bare where JavaScript can tell the branches apart, else wrapped as `{ branch: value }`. */
function unionText(branches: readonly AvroType[], names: ReadonlyMap<string, string>): string {
  const kinds = branches.map(runtimeKind)
  const bare = new Set(kinds).size === kinds.length
  const texts = branches.map((branch) => {
    const text = typeText(branch, names)
    return bare || text === 'null' ? text : `{ readonly '${branchName(branch)}': ${text} }`
  })
  // Null last, as it is written by hand.
  return [...texts.filter((text) => text !== 'null'), ...texts.filter((text) => text === 'null')].join(' | ')
}

function runtimeKind(type: AvroType): string {
  switch (type.kind) {
    case 'enum':
      return 'string'
    case 'fixed':
      return 'Buffer'
    case 'map':
    case 'record':
      return 'object'
    case 'primitive':
      return PRIMITIVE_TEXT[type.type]
    default:
      return type.kind
  }
}

function branchName(type: AvroType): string {
  if (type.kind === 'primitive') return type.type
  return 'name' in type ? type.name : type.kind
}

function parenthesised(text: string): string {
  return /^[\w.]+$/.test(text) ? text : `(${text})`
}

function propertyName(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name)
}

/** Every record reachable from the roots, by full name, roots and outer records first. */
function collect(roots: readonly AvroRecord[]): ReadonlyMap<string, AvroRecord> {
  const found = new Map<string, AvroRecord>()
  const visit = (type: AvroType): void => {
    if (type.kind === 'array') visit(type.items)
    else if (type.kind === 'map') visit(type.values)
    else if (type.kind === 'union') type.branches.forEach(visit)
    else if (type.kind === 'record' && !found.has(type.name)) {
      found.set(type.name, type)
      for (const field of type.fields) visit(field.type)
    }
  }
  roots.forEach(visit)
  return found
}

/** Interface names by full Avro name: the last part, or the whole in pascal case where two would be the same. */
function interfaceNames(roots: readonly AvroRecord[]): ReadonlyMap<string, string> {
  const all = [...collect(roots).keys()]
  const short = (name: string): string => name.slice(name.lastIndexOf('.') + 1)
  const pascal = (name: string): string =>
    name
      .split('.')
      .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
      .join('')
  const taken = (name: string): boolean =>
    short(name) === 'Records' || all.filter((o) => short(o) === short(name)).length > 1
  return new Map(all.map((name) => [name, taken(name) ? pascal(name) : short(name)]))
}
