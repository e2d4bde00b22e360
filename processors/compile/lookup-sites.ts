import type { CompiledFeature, KeyPart } from '../../schemas/pipeline/compiled.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { argumentsOf, callUserCode, type EventRecord, failed, type StepResult } from './step.ts'

/** One row that an event needs: features that look up other columns of the same row share a site. */
interface LookupSite {
  readonly table: string
  readonly by: readonly KeyPart[]
  /** Key of the row; null when a part of it is null, so that there can be no row. */
  key(event: EventRecord): StepResult<string | null>
}

/** The key of each row, by site; null = there can be no table row. */
export type LookupKeys = readonly (string | null)[][]

export type LookupFeature = Extract<CompiledFeature, { readonly kind: 'lookup' }>

export interface LookupSites {
  readonly sites: readonly LookupSite[]
  siteOf(feature: LookupFeature): number
}

export function compileLookupSites(features: readonly CompiledFeature[]): LookupSites {
  const firsts: LookupFeature[] = []
  const indexes = new Map<string, number>()
  for (const feature of features) {
    if (feature.kind !== 'lookup') continue
    const same = firsts.findIndex((first) => first.table === feature.table && sameParts(first.by, feature.by))
    indexes.set(feature.name, same === -1 ? firsts.push(feature) - 1 : same)
  }
  return {
    sites: firsts.map(({ name, table, by }) => ({ table, by, key: compileKey(name, by) })),
    siteOf: (feature) => indexes.get(feature.name) as number,
  }
}

function sameParts(a: readonly KeyPart[], b: readonly KeyPart[]): boolean {
  return a.length === b.length && a.every((part, index) => samePart(part, b[index] as KeyPart))
}

function samePart(a: KeyPart, b: KeyPart): boolean {
  if (a.kind === 'field') return b.kind === 'field' && a.field === b.field
  return b.kind === 'derive' && a.compute === b.compute && a.fields.join() === b.fields.join()
}

function compileKey(feature: string, parts: readonly KeyPart[]): (event: EventRecord) => StepResult<string | null> {
  const readers = parts.map((part) => compilePart(feature, part))
  return (event) => {
    const values: (string | number | boolean)[] = []
    for (const read of readers) {
      const part = read(event)
      if (!part.ok) return part
      const { value } = part
      if (value === null || value === undefined) return { ok: true, value: null }
      if (typeof value === 'number' && !Number.isFinite(value)) {
        return failed('non_finite', `a key part of feature ${feature} is not finite`)
      }
      if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') {
        return failed('step_error', `a key part of feature ${feature} is a ${typeof value}`)
      }
      values.push(value)
    }
    return { ok: true, value: tableKeyText(values) }
  }
}

function compilePart(feature: string, part: KeyPart): (event: EventRecord) => StepResult<unknown> {
  // as it is: a rounded key would be that of another row
  if (part.kind === 'field') return (event) => ({ ok: true, value: event[part.field] ?? null })
  const values = argumentsOf(part.fields)
  return (event) => callUserCode<unknown>(`the key of feature ${feature}`, part.compute, values(event))
}
