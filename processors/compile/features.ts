import type { CompiledFeature } from '../../schemas/pipeline/compiled.ts'
import type { LookupFeature } from './lookup-sites.ts'
import { argumentsOf, callUserCode, type EventRecord, failed, type StepResult, scalar } from './step.ts'

/** Columns of a table row that may be used for the event; null when there is none. */
export type UsableRow = Readonly<Record<string, unknown>> | null

/** A feature's value before it becomes a float32. `degraded`: a lookup could not give one. */
interface Value {
  readonly number: number
  readonly degraded: boolean
}

type FeatureStep = (event: EventRecord, rows: readonly UsableRow[]) => StepResult<Value>

/**
 * Writes an event's features to `out[at …]`, one float32 each, and answers whether a lookup failed it. Fails with
 * `non_finite` for a value that is infinite or NaN, or is so as a float32; only a feature's `missing` may be NaN.
 */
export type FeatureRow = (
  event: EventRecord,
  rows: readonly UsableRow[],
  out: Float32Array,
  at: number,
) => StepResult<{ readonly degraded: boolean }>

const CLEAN = { ok: true, value: { degraded: false } } as const
const DEGRADED = { ok: true, value: { degraded: true } } as const

/** `rows` are the usable rows by lookup site. */
export function compileFeatures(
  features: readonly CompiledFeature[],
  siteOf: (feature: LookupFeature) => number,
): FeatureRow {
  const steps = features.map((feature) => compileFeature(feature, siteOf))
  return (event, rows, out, at) => {
    let degraded = false
    for (let index = 0; index < steps.length; index++) {
      const result = (steps[index] as FeatureStep)(event, rows)
      if (!result.ok) return result
      out[at + index] = result.value.number
      degraded ||= result.value.degraded
    }
    return degraded ? DEGRADED : CLEAN
  }
}

function compileFeature(feature: CompiledFeature, siteOf: (feature: LookupFeature) => number): FeatureStep {
  const missing: StepResult<Value> = { ok: true, value: { number: feature.missing, degraded: false } }
  switch (feature.kind) {
    case 'number':
      return (event) => {
        const value = scalar(event[feature.field])
        return value === null ? missing : finite(feature, value)
      }
    case 'flag':
      return (event) => {
        const value = scalar(event[feature.field])
        if (value === null) return missing
        return typeof value === 'boolean' ? known(value ? 1 : 0) : wrongType(feature, value)
      }
    case 'category': {
      const indexes = new Map(feature.values.map((value, index) => [value, index]))
      return (event) => {
        const value = scalar(event[feature.field])
        if (value === null) return missing
        return typeof value === 'string' ? known(indexes.get(value) ?? feature.unseen) : wrongType(feature, value)
      }
    }
    case 'derive': {
      const values = argumentsOf(feature.fields)
      return (event) => {
        const result = callUserCode<unknown>(`feature ${feature.name}`, feature.compute, values(event))
        if (!result.ok) return result
        return result.value === null || result.value === undefined ? missing : finite(feature, result.value)
      }
    }
    case 'lookup':
      return compileLookup(feature, siteOf(feature))
  }
}

function compileLookup(feature: LookupFeature, site: number): FeatureStep {
  const notMeasured: StepResult<Value> = { ok: true, value: { number: feature.missing, degraded: false } }
  const failedLookup: StepResult<Value> = { ok: true, value: { number: feature.missing, degraded: true } }
  return (_event, rows) => {
    const value = lookupValue(rows[site] ?? null, feature.column)
    if (value === null) return notMeasured
    return Number.isNaN(value) ? failedLookup : known(value)
  }
}

/**
 * A column as a feature; null = not measured, NaN = the lookup failed. What a table holds is no fault of the event: a value
 * that no float32 can hold counts as a failed lookup.
 */
export function lookupValue(row: UsableRow, column: string): number | null {
  if (row === null) return Number.NaN
  const value = row[column]
  if (value === null || value === undefined) return null
  if (typeof value === 'boolean') return value ? 1 : 0
  return typeof value === 'number' && Number.isFinite(Math.fround(value)) ? value : Number.NaN
}

function known(number: number): StepResult<Value> {
  return { ok: true, value: { number, degraded: false } }
}

function finite(feature: CompiledFeature, value: unknown): StepResult<Value> {
  if (typeof value !== 'number') return wrongType(feature, value)
  if (Number.isFinite(Math.fround(value))) return known(value)
  return failed('non_finite', `feature ${feature.name} is NaN, infinite or too large for a float32`)
}

function wrongType(feature: CompiledFeature, value: unknown): StepResult<Value> {
  return failed('step_error', `feature ${feature.name} is a ${typeof value}, where a ${feature.kind} is computed`)
}
