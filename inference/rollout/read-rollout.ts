import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'

/** What the log says of a model; an entry of null when nothing, or nothing that this version of the code understands. */
export interface ReadRollout {
  readonly entry: RolloutEntry | null
  /** Revision of the record that it was read from, for a change that is based on it; null = there is none. */
  readonly revision: number | null
  /** It says something that is not understood. */
  readonly isUnknown: boolean
}

export function readRollout(control: ControlLog, model: string): ReadRollout {
  const record = control.latest('rollout', model)
  const entry = record === null ? null : rolloutOf(record)
  return { entry, revision: record?.revision ?? null, isUnknown: record !== null && entry === null }
}

/** Null when the record is not a rollout that this version of the code understands. */
export function rolloutOf({ value }: ControlRecord): RolloutEntry | null {
  const isRollout =
    isObject(value) &&
    typeof value['step'] === 'string' &&
    isWhole(value['lastEpoch']) &&
    isNullOr(value['active'], isPlan) &&
    isNullOr(value['previous'], isPlan) &&
    isNullOr(value['proposed'], ({ deadline, plan }) => isWhole(deadline) && isObject(plan) && isPlan(plan)) &&
    isNullOr(value['evidence'], () => true)
  return isRollout ? (value as unknown as RolloutEntry) : null
}

type Fields = Readonly<Record<string, unknown>>

function isPlan(plan: Fields): boolean {
  return (
    isWhole(plan['epoch']) &&
    typeof plan['production'] === 'string' &&
    isNullOr(plan['candidate'], ({ version, weight, paused }) => {
      return typeof version === 'string' && isWhole(weight) && typeof paused === 'boolean'
    }) &&
    isNullOr(plan['shadow'], ({ version, share }) => typeof version === 'string' && isWhole(share)) &&
    isNullOr(plan['guards'], isLimits) &&
    (plan['sources'] === undefined || isSources(plan['sources']))
  )
}

function isSources(sources: unknown): boolean {
  return isObject(sources) && Object.values(sources).every((from) => from === 'bundled' || from === 'registered')
}

function isLimits(limits: Fields): boolean {
  const { windowMs, minRows, slowFloorUs, errorRate, invalidRate, slowdown, psi } = limits
  const isNumber = (value: unknown): boolean => typeof value === 'number'
  return (
    [windowMs, minRows, slowFloorUs].every(isNumber) &&
    [errorRate, invalidRate, slowdown, psi].every((limit) => limit === null || isNumber(limit))
  )
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNullOr(value: unknown, is: (fields: Fields) => boolean): boolean {
  return value === null || (isObject(value) && is(value))
}

function isWhole(value: unknown): boolean {
  return Number.isSafeInteger(value)
}
