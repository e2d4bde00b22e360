import { AvroCursor } from '../../infra/runtime/avro/avro-bytes.ts'
import type { CompiledFeature, CompiledPipeline, KeyPart, Scalar } from '../../schemas/pipeline/compiled.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { categoryIndex } from './category-index.ts'
import type { DecodedRows } from './decoded-rows.ts'
import { TIME_END_MS } from './event-facts.ts'
import type { LookupSites } from './lookup-sites.ts'
import { type PlannedField, type PlannedScalar, planWriter, type WriterPlan } from './writer-plan.ts'

/**
 * Decodes the rows below `length` whose schema id is `schemaId`, each a value in the wire format of at least 5 bytes:
 * facts, checks, features and lookup keys. Sets `decoded` to 1 only where the readable path would come to the very same
 * vector; on any doubt it leaves the row to that path, which knows the reason. Reads nothing outside a value, and throws
 * nothing for what is in one.
 */
export type DecodeRows = (
  bytes: Buffer,
  starts: Int32Array,
  lengths: Int32Array,
  schemaIds: Int32Array,
  schemaId: number,
  length: number,
  out: DecodedRows,
) => void

/**
 * A decoder for (writer schema, pipeline); null where records of that schema take the readable path. The code is made of
 * positions and numbers alone: no name of a schema, and nothing of a message, becomes a part of it.
 */
export function generateDecoder(
  pipeline: CompiledPipeline,
  writer: CompiledPipeline['event']['schema'],
  { sites }: LookupSites,
): DecodeRows | null {
  const { event } = pipeline
  const keyParts = sites.map((site) => site.by)
  const needed = neededFields(pipeline, keyParts)
  const plan = planWriter(writer, event.schema, new Set(needed))
  if (plan === null || !hasText(plan, event.idField)) return null
  const code = new Code(needed, plan, pipeline, keyParts)
  return code.compile()
}

function hasText({ fields }: WriterPlan, name: string): boolean {
  return fields.some((field) => !('skip' in field) && field.read === name && field.kind === 'string')
}

function neededFields(pipeline: CompiledPipeline, keyParts: readonly (readonly KeyPart[])[]): readonly string[] {
  const { event, checks, features } = pipeline
  const fields = [event.idField, event.timeField, ...(event.segmentField === null ? [] : [event.segmentField])]
  for (const check of checks) fields.push(...check.fields)
  for (const feature of features) {
    if (feature.kind === 'derive') fields.push(...feature.fields)
    else if (feature.kind !== 'lookup') fields.push(feature.field)
  }
  for (const part of keyParts.flat()) fields.push(...(part.kind === 'field' ? [part.field] : part.fields))
  return [...new Set(fields)]
}

/** Undefined = the readable path has to say what is wrong with it. */
function keyText(...parts: readonly unknown[]): string | null | undefined {
  for (const part of parts) {
    if (part === null || part === undefined) return null
    if (typeof part === 'number' ? !Number.isFinite(part) : typeof part !== 'string' && typeof part !== 'boolean') {
      return undefined
    }
  }
  return tableKeyText(parts as (string | number | boolean)[])
}

/**
 * The text of one decoder. Of needed field i: `v<i>` its value (the index of an enum), `s<i>` and `l<i>` where a string
 * lies, `n<i>` whether it is null, `t<i>` what the pipeline's own code is given. `c[…]` are constants.
 */
class Code {
  readonly #needed: readonly string[]
  readonly #plan: WriterPlan
  readonly #pipeline: CompiledPipeline
  readonly #keyParts: readonly (readonly KeyPart[])[]
  readonly #constants: unknown[] = []
  readonly #fields = new Map<string, PlannedScalar>()
  readonly #texts = new Set<number>()

  constructor(
    needed: readonly string[],
    plan: WriterPlan,
    pipeline: CompiledPipeline,
    keyParts: readonly (readonly KeyPart[])[],
  ) {
    this.#needed = needed
    this.#plan = plan
    this.#pipeline = pipeline
    this.#keyParts = keyParts
    for (const field of plan.fields) {
      if ('kind' in field && field.read !== null) this.#fields.set(field.read, field)
    }
  }

  compile(): DecodeRows {
    const reads = this.#plan.fields.map((field) => this.#read(field))
    // first, so that it is known which texts they need
    const steps = [this.#checks(), this.#features(), this.#keys()].flat()
    const body = [
      'const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)',
      'const { decoded, idStarts, idLengths, segmentStarts, segmentLengths, segmentTexts, times, features, keys } = out',
      'cursor.bytes = bytes',
      'let b = 0, r = null, g = 0',
      `for (let row = 0, x = 0; row < length; row++, x += ${this.#pipeline.features.length}) {`,
      'if (schemaIds[row] !== schemaId) continue',
      'let pos = starts[row] + 5',
      'const end = starts[row] + lengths[row]',
      'cursor.end = end',
      ...this.#declarations(),
      ...reads.flat(),
      'if (pos !== end) continue',
      ...this.#facts(),
      ...(steps.length === 0 ? [] : ['try {', ...this.#textDeclarations(), ...steps, '} catch { continue }']),
      'decoded[row] = 1',
      '}',
    ]
    const names = this.#constants.map((_, index) => `c${index}`)
    const source = [
      "'use strict'",
      `const [${names.join(', ')}] = c`,
      'return function decodeRows(bytes, starts, lengths, schemaIds, schemaId, length, out) {',
      ...body,
      '}',
    ].join('\n')
    const make = new Function('c', 'cursor', 'keyText', source)
    return make(this.#constants, new AvroCursor(), keyText) as DecodeRows
  }

  #constant(value: unknown): string {
    const known = this.#constants.findIndex((constant) => Object.is(constant, value))
    return `c${known === -1 ? this.#constants.push(value) - 1 : known}`
  }

  #indexOf(name: string): number {
    return this.#needed.indexOf(name)
  }

  #field(name: string): PlannedScalar | null {
    return this.#fields.get(name) ?? null
  }

  #declarations(): readonly string[] {
    const moved = this.#needed.length
    const needed = this.#needed.map((name, at) => {
      const field = this.#field(name)
      if (field === null) {
        const value = this.#plan.defaults.get(name) ?? null
        return `const n${at} = ${value === null}, v${at} = ${this.#constant(value)}`
      }
      return `let n${at} = false, v${at} = 0${field.kind === 'string' ? `, s${at} = 0, l${at} = 0` : ''}`
    })
    return [...needed, `let n${moved} = false, v${moved} = 0, s${moved} = 0, l${moved} = 0`]
  }

  #read(field: PlannedField): readonly string[] {
    if ('skip' in field) {
      return ['cursor.at = pos', `if (!${this.#constant(field.skip)}(cursor)) continue`, 'pos = cursor.at']
    }
    // behind those that are needed: fields that are moved over share one
    const at = field.read === null ? this.#needed.length : this.#indexOf(field.read)
    const value = this.#readValue(field, at)
    if (field.union === null) return value
    const { valueAt, nullAt } = field.union
    // a single byte, as every writer makes it; what else may mean the same is left to the readable path
    return [
      'if (pos >= end) continue',
      'b = bytes[pos++]',
      nullAt === -1 ? `if (b !== ${2 * valueAt}) continue` : `if (b === ${2 * nullAt}) n${at} = true`,
      ...(nullAt === -1 ? value : [`else if (b === ${2 * valueAt}) {`, ...value, '} else continue']),
    ]
  }

  #readValue({ kind, symbols }: PlannedScalar, at: number): readonly string[] {
    switch (kind) {
      case 'boolean':
        return ['if (pos >= end) continue', `v${at} = bytes[pos++]`]
      case 'int':
      case 'long':
        return readLong(`v${at}`)
      case 'float':
        return ['if (pos + 4 > end) continue', `v${at} = view.getFloat32(pos, true)`, 'pos += 4']
      case 'double':
        return ['if (pos + 8 > end) continue', `v${at} = view.getFloat64(pos, true)`, 'pos += 8']
      case 'enum':
        return [...readLong(`v${at}`), `if (v${at} < 0 || v${at} >= ${symbols.length}) continue`]
      case 'string':
        return [
          ...readLong(`l${at}`),
          `if (l${at} < 0 || l${at} > end - pos) continue`,
          `s${at} = pos`,
          `pos += l${at}`,
        ]
    }
  }

  #facts(): readonly string[] {
    const { idField, timeField, segmentField } = this.#pipeline.event
    const id = this.#indexOf(idField)
    const time = this.#indexOf(timeField)
    return [
      `if (n${id} || l${id} === 0) continue`,
      `if (n${time} || !(v${time} >= 0 && v${time} < ${TIME_END_MS})) continue`,
      `idStarts[row] = s${id}; idLengths[row] = l${id}; times[row] = v${time}`,
      ...this.#segment(segmentField),
    ]
  }

  #segment(name: string | null): readonly string[] {
    const at = name === null ? -1 : this.#indexOf(name)
    if (name === null) return ['segmentStarts[row] = 0; segmentLengths[row] = 0']
    if (this.#field(name)?.kind === 'string') {
      return [`segmentStarts[row] = s${at}; segmentLengths[row] = n${at} ? 0 : l${at}`]
    }
    const text = this.#field(name)?.kind === 'boolean' ? `v${at} !== 0` : this.#valueOf(name)
    return [`segmentStarts[row] = -1; segmentTexts[row] = n${at} ? '' : String(${text})`]
  }

  /** An expression for the value as the pipeline's own code sees it. */
  #argument(name: string): string {
    const at = this.#indexOf(name)
    const kind = this.#field(name)?.kind
    if (kind !== 'string') {
      const value = kind === 'boolean' ? `v${at} !== 0` : this.#valueOf(name)
      return `(n${at} ? null : ${value})`
    }
    this.#texts.add(at)
    return `t${at}`
  }

  #valueOf(name: string): string {
    const at = this.#indexOf(name)
    const field = this.#field(name)
    return field?.kind === 'enum' ? `${this.#constant(field.symbols)}[v${at}]` : `v${at}`
  }

  #textDeclarations(): readonly string[] {
    return [...this.#texts].map((at) => `const t${at} = n${at} ? null : bytes.utf8Slice(s${at}, s${at} + l${at})`)
  }

  #call(compute: unknown, fields: readonly string[]): string {
    return `${this.#constant(compute)}(${fields.map((field) => this.#argument(field)).join(', ')})`
  }

  #checks(): readonly string[] {
    return this.#pipeline.checks.map(({ test, fields }) => `if (${this.#call(test, fields)} !== true) continue`)
  }

  #keys(): readonly string[] {
    return this.#keyParts.flatMap((parts, site) => {
      const values = parts.map((part) =>
        part.kind === 'field' ? this.#argument(part.field) : this.#call(part.compute, part.fields),
      )
      return [`r = keyText(${values.join(', ')})`, 'if (r === undefined) continue', `keys[${site}][row] = r`]
    })
  }

  #features(): readonly string[] {
    return this.#pipeline.features.flatMap((feature, column) => this.#feature(feature, `features[x + ${column}]`))
  }

  #feature(feature: CompiledFeature, cell: string): readonly string[] {
    const missing = this.#constant(feature.missing)
    if (feature.kind === 'lookup') return []
    if (feature.kind === 'derive') {
      return [
        `r = ${this.#call(feature.compute, feature.fields)}`,
        `if (typeof r === 'number') { g = Math.fround(r); if (g - g !== 0) continue; ${cell} = g }`,
        `else if (r === null || r === undefined) ${cell} = ${missing}`,
        'else continue',
      ]
    }
    const at = this.#indexOf(feature.field)
    const kind = this.#field(feature.field)?.kind
    const known = kind === undefined ? this.#ofDefault(feature) : this.#ofValue(feature, kind, at)
    if (known.startsWith('g = ')) {
      return [`if (n${at}) ${cell} = ${missing}`, `else { ${known}; if (g - g !== 0) continue; ${cell} = g }`]
    }
    return [`${cell} = n${at} ? ${missing} : ${known}`]
  }

  #ofValue(feature: CompiledFeature, kind: string, at: number): string {
    if (feature.kind === 'flag') return `(v${at} !== 0 ? 1 : 0)`
    if (feature.kind !== 'category') return kind === 'float' || kind === 'double' ? `g = Math.fround(v${at})` : `v${at}`
    const unseen = this.#constant(feature.unseen)
    if (kind === 'enum') {
      const { symbols } = this.#field(feature.field) as { readonly symbols: readonly string[] }
      const indexes = symbols.map((symbol) => feature.values.indexOf(symbol))
      return `${this.#constant(indexes.map((index) => (index === -1 ? feature.unseen : index)))}[v${at}]`
    }
    const index = categoryIndex(feature.values)
    if (index === null) {
      const byText = new Map(feature.values.map((value, position) => [value, position]))
      return `(${this.#constant(byText)}.get(${this.#argument(feature.field)}) ?? ${unseen})`
    }
    return `((b = ${this.#constant(index)}.find(bytes, s${at}, l${at})) < 0 ? ${unseen} : b)`
  }

  /** Of a field that the writer does not have; a value of another type is left to the readable path. */
  #ofDefault(feature: CompiledFeature & { readonly kind: 'number' | 'flag' | 'category' }): string {
    const value: Scalar = this.#plan.defaults.get(feature.field) ?? null
    if (typeof value === 'number') return `g = Math.fround(${this.#constant(value)})`
    if (typeof value === 'boolean') return value ? '1' : '0'
    const index = feature.kind === 'category' && typeof value === 'string' ? feature.values.indexOf(value) : -1
    return this.#constant(index === -1 && feature.kind === 'category' ? feature.unseen : index)
  }
}

/** Inline for the one or two bytes that most have. */
function readLong(name: string): readonly string[] {
  return [
    'if (pos >= end) continue',
    'b = bytes[pos]',
    `if (b < 0x80) { ${name} = (b >>> 1) ^ -(b & 1); pos++ }`,
    'else if (pos + 1 < end && bytes[pos + 1] < 0x80) {',
    `b = (b & 0x7f) | (bytes[pos + 1] << 7); ${name} = (b >>> 1) ^ -(b & 1); pos += 2`,
    '}',
    `else { cursor.at = pos; ${name} = cursor.long(); if (${name} !== ${name}) continue; pos = cursor.at }`,
  ]
}
