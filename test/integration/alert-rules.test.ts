import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'
import type { Alert } from '../../schemas/generated/records.ts'
import type { CompiledAlertRule } from '../../schemas/pipeline/monitor.ts'
import type { AlertLog } from '../../sinks/drift/alerts/alert-log.ts'
import type { RuleState } from '../../sinks/drift/alerts/alert-state.ts'
import { createAlerts } from '../../sinks/drift/alerts/alerts.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { uniqueName } from '../support/unique-name.ts'

// Rules over the scores of closed windows, on the real engine; every alert's query is run.

let database: TestDatabase
beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database?.drop())

const HOUR = 3_600_000
const START = Date.UTC(2026, 0, 5)
const PROFILE = { profile: 'reference-1' } as ProfileEntry
const BASE = { severity: 'warning', silence: null } as const
const ANY_DRIFT: CompiledAlertRule = {
  ...BASE,
  name: 'drift',
  on: { kind: 'drift', feature: null, metric: null, above: null },
}

interface Score {
  readonly hour: number
  readonly feature?: string
  readonly metric?: string
  readonly segment?: string
  readonly value?: number
  readonly drift?: boolean
  readonly status?: string
  readonly closed?: boolean
  readonly profile?: string
}

async function storeDrift(pipeline: string, scores: readonly Score[]): Promise<void> {
  const rows = scores.map(({ hour, ...change }) => ({
    ...{ pipeline, profile: 'reference-1', model_version: '1', role: 'primary', feature: 'temp', subject: 'feature' },
    ...{ segment: '*', metric: 'psi', status: 'ok', value: 0.05, noise_floor: 0.02, threshold: 0.1, p_value: null },
    ...{ drift: false, n_reference: 1_000, n: 1_000, contributions: [], closed: true, params: {} },
    ...change,
    window_start: (START + hour * HOUR) / 1_000,
    window_end: (START + (hour + 1) * HOUR) / 1_000,
    computed_at: Date.now(),
  }))
  await database.client.insert('drift_scores', Object.keys(rows[0] ?? {}), rows)
}

async function storeQuality(pipeline: string, values: readonly (readonly [hour: number, value: number])[]) {
  const rows = values.map(([hour, value]) => ({
    ...{ pipeline, model: 'm', model_version: '1', role: 'primary', segment: "O'Hare", metric: 'auc', value },
    window_start: (START + hour * HOUR) / 1_000,
    window_end: (START + (hour + 1) * HOUR) / 1_000,
    ...{ known_after_hours: 65_535, status: 'ok', standard_error: 0.01, n: 600, labels: 600, coverage: 1 },
    ...{ closed: true, params: {}, computed_at: Date.now() },
  }))
  await database.client.insert('quality_scores', Object.keys(rows[0] ?? {}), rows)
}

/** The part with a log in memory; `said` = what stands of a rule after each round. */
function watchOf(pipeline: string, rules: readonly CompiledAlertRule[], now = START) {
  const states = new Map<string, RuleState>()
  const alerts: Alert[] = []
  const log: AlertLog = {
    states: async () => states,
    async append(decide) {
      const decided = await decide(states)
      for (const alert of decided) states.set(alert.rule, { state: alert.state, until: alert.at })
      alerts.push(...decided)
      return decided
    },
  }
  const said = new Map<string, boolean>()
  const part = createAlerts({
    ...{ pipeline, log, clickhouse: database.client, clock: { now: () => now } },
    monitor: { rules, windowMs: HOUR, consecutive: 2 },
    instruments: { wrote: () => {}, stands: ({ rule }, firing) => said.set(rule, firing) },
  })
  const round = async (hours: number, profile: ProfileEntry | null = PROFILE): Promise<readonly string[]> => {
    const before = alerts.length
    await part.round({ profile, seenUntil: START + hours * HOUR, signal: new AbortController().signal })
    return alerts.slice(before).map(({ rule, state, at }) => `${rule} ${state} ${(at - START) / HOUR}`)
  }
  return { alerts, said, round, part }
}

const evidence = (alert: Alert | undefined) => database.client.rows<Record<string, unknown>>(alert?.evidence_sql ?? '')

test('one feature that drifts twice in a row fires, and its query shows exactly that', async () => {
  const pipeline = uniqueName('rules')
  const { alerts, said, round } = watchOf(pipeline, [ANY_DRIFT])
  expect(await round(0)).toEqual([])
  await storeDrift(pipeline, [
    { hour: 0 },
    { hour: 0, feature: 'wind', drift: true, value: 0.4 },
    { hour: 1, drift: true, value: 0.2 },
    { hour: 1, feature: 'wind' },
    { hour: 2, drift: true, value: 0.3 },
    { hour: 2, feature: 'wind', segment: "O'Hare", status: 'insufficient_data', drift: true },
    { hour: 2, profile: 'another', feature: 'wind', drift: true },
    { hour: 3, drift: true, value: 0.5, closed: false },
  ])
  expect(await round(4)).toEqual(['drift firing 3'])
  expect(await round(4)).toEqual([])
  expect(said.get('drift')).toBe(true)
  expect(alerts[0]?.message).toBe(
    `${pipeline}: drift: temp: psi 0.3 (threshold 0.1, n 1000), version 1, in 2 windows in a row, 2026-01-05T01:00:00.000Z to 2026-01-05T03:00:00.000Z`,
  )
  expect(await evidence(alerts[0])).toMatchObject([
    { feature: 'temp', metric: 'psi', segment: '*', value: 0.2, threshold: 0.1, drift: true },
    { feature: 'temp', metric: 'psi', segment: '*', value: 0.3, threshold: 0.1, drift: true },
  ])

  await storeDrift(pipeline, [{ hour: 3 }, { hour: 4 }])
  expect(await round(6)).toEqual(['drift resolved 5'])
  expect(said.get('drift')).toBe(false)
  expect(await evidence(alerts[1])).toMatchObject([
    { judged: '1', bad: '0' },
    { judged: '1', bad: '0' },
  ])
  // late data restates what has fired: it has fired all the same
  await storeDrift(pipeline, [{ hour: 1 }, { hour: 2 }])
  expect(await round(6)).toEqual([])
})

test('a rule may name a feature, a metric and a bound of its own', async () => {
  const pipeline = uniqueName('rules')
  const rules: readonly CompiledAlertRule[] = [
    { ...BASE, name: 'wind', on: { kind: 'drift', feature: 'wind', metric: null, above: null } },
    { ...BASE, name: 'strict', on: { kind: 'drift', feature: null, metric: 'ks', above: 0.04 } },
  ]
  const { alerts, round } = watchOf(pipeline, rules)
  await storeDrift(pipeline, [
    { hour: 0, drift: true },
    { hour: 1, drift: true },
    { hour: 0, metric: 'ks' },
    { hour: 1, metric: 'ks' },
  ])
  expect(await round(2, null)).toEqual([])
  expect(await round(2)).toEqual(['strict firing 2'])
  expect(await evidence(alerts[0])).toHaveLength(2)
})

test('quality below its bound fires; in its silence it says so', async () => {
  const pipeline = uniqueName('rules')
  const silence = { fromMinute: 0, toMinute: 360 }
  const rule: CompiledAlertRule = {
    ...{ name: 'auc', severity: 'critical', silence },
    on: { kind: 'quality', metric: 'auc', below: 0.7, above: null },
  }
  const { alerts, round, said, part } = watchOf(pipeline, [rule], START + HOUR)
  await storeQuality(pipeline, [
    [0, 0.8],
    [1, 0.6],
    [2, 0.65],
  ])
  expect(await round(4)).toEqual(['auc firing 3'])
  expect(alerts[0]).toMatchObject({ severity: 'critical' })
  expect(alerts[0]?.message).toContain("auc 0.65 (at least 0.7, n 600) in segment O'Hare, version 1")
  expect(alerts[0]?.message).toMatch(/\(in silence until 2026-\d\d-\d\dT06:00:00\.000Z\)$/)
  expect(await evidence(alerts[0])).toMatchObject([{ value: 0.6, labels: '600' }, { value: 0.65 }])
  // labels that come late make good what was bad: from then on it is resolved by what follows
  await storeQuality(pipeline, [
    [3, 0.8],
    [4, Number.NaN],
  ])
  expect(await round(6)).toEqual(['auc resolved 5'])
  part.end?.()
  expect(said.get('auc')).toBe(false)
})

test('a year that is played at once brings every change, in order', async () => {
  const pipeline = uniqueName('rules')
  const { alerts, round } = watchOf(pipeline, [ANY_DRIFT])
  await storeDrift(
    pipeline,
    Array.from({ length: 40 }, (_, hour) => ({ hour, drift: Math.floor(hour / 5) % 2 === 1 })),
  )
  expect(await round(40)).toEqual(
    [7, 12, 17, 22, 27, 32, 37].map((end, index) => `drift ${index % 2 === 0 ? 'firing' : 'resolved'} ${end}`),
  )
  for (const alert of alerts) expect(await evidence(alert)).toHaveLength(2)
})
