/** How a definition wants to be watched, with what it leaves out filled in. */
import { readDuration } from './compile-event.ts'
import type { Cursor } from './cursor.ts'
import { type CompiledAlertRule, type CompiledMonitor, DEFAULT_MONITOR } from './monitor.ts'
import { suggest } from './problems.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const METRIC = /^[a-z][a-z0-9_]*$/
const METRIC_EXPECTED = 'the name of a metric: lower-case letters, digits and _, a letter first'
const SEVERITIES = ['info', 'warning', 'critical'] as const
/** What can be said about predictions without any label. */
const WITHOUT_LABELS = /^(estimated_|coverage$)/

export interface Watched {
  /** Features by name. */
  readonly features: readonly string[]
  readonly labelled: boolean
}

const MEMBERS = ['pane', 'window', 'minRows', 'consecutive', 'threshold', 'alerts'] as const

/** Reports what is wrong and answers the default in its place. */
export function compileMonitor(place: Cursor, watched: Watched): CompiledMonitor {
  const members = place.object<(typeof MEMBERS)[number]>([], MEMBERS)
  if (members === null) return DEFAULT_MONITOR
  const paneMs = readDuration(members.pane) ?? DEFAULT_MONITOR.paneMs
  const windowMs = readDuration(members.window) ?? Math.max(DEFAULT_MONITOR.windowMs, paneMs)
  if (!isPane(paneMs)) {
    members.pane.problem(
      'a pane is whole seconds that divide an hour (5m), whole hours that divide a day (6h), or whole days',
    )
  } else if (windowMs % paneMs !== 0) {
    members.window.problem(`a window (${windowMs / 1000} s) is a whole number of panes (${paneMs / 1000} s)`)
  }
  return {
    paneMs,
    windowMs,
    minRows: members.minRows.number(isCount, COUNT_EXPECTED) ?? DEFAULT_MONITOR.minRows,
    consecutive: members.consecutive.number(isCount, COUNT_EXPECTED) ?? DEFAULT_MONITOR.consecutive,
    threshold: members.threshold.number() ?? DEFAULT_MONITOR.threshold,
    rules: members.alerts.given ? compileRules(members.alerts, watched) : DEFAULT_MONITOR.rules,
  }
}

/** Panes are kept by the second, and begin where an hour, or a day, or the days since 1970 do. */
function isPane(ms: number): boolean {
  if (ms % 1000 !== 0) return false
  if (ms <= HOUR_MS) return HOUR_MS % ms === 0
  return ms <= DAY_MS ? ms % HOUR_MS === 0 && DAY_MS % ms === 0 : ms % DAY_MS === 0
}

const COUNT_EXPECTED = 'a whole number from 1'
const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 1

function compileRules(place: Cursor, watched: Watched): readonly CompiledAlertRule[] {
  return (place.entries() ?? []).flatMap(([name, member]) => {
    if (!/^[a-z][a-z0-9_-]*$/.test(name)) {
      member.problem('the name of an alert is lower-case letters, digits, - and _, a letter first')
    }
    const rule = compileRule(name, member, watched)
    return rule === null ? [] : [rule]
  })
}

function compileRule(name: string, place: Cursor, watched: Watched): CompiledAlertRule | null {
  const kinds = ['drift', 'quality'] as const
  const members = place.object<'severity' | 'silence' | (typeof kinds)[number]>([], ['severity', 'silence', ...kinds])
  if (members === null) return null
  if (members.drift.given === members.quality.given) return place.problem('either drift or quality is expected')
  const on = members.drift.given ? driftRule(members.drift, watched) : qualityRule(members.quality, watched)
  if (on === null) return null
  return { name, severity: members.severity.oneOf(SEVERITIES) ?? 'warning', on, silence: readSilence(members.silence) }
}

function driftRule(place: Cursor, { features }: Watched): CompiledAlertRule['on'] | null {
  const members = place.object<'feature' | 'metric' | 'above'>([], ['feature', 'metric', 'above'])
  if (members === null) return null
  const feature = members.feature.string()
  const known = [...features, 'score']
  if (feature !== null && !known.includes(feature)) {
    members.feature.problem(`there is no feature ${feature}${suggest(feature, known)}`)
  }
  const metric = members.metric.string(METRIC, METRIC_EXPECTED)
  const above = members.above.number()
  if (above !== null && metric === null) members.above.problem('a bound needs the metric that it is meant for')
  return { kind: 'drift', feature, metric, above }
}

function qualityRule(place: Cursor, { labelled }: Watched): CompiledAlertRule['on'] | null {
  const members = place.object<'metric' | 'below' | 'above'>(['metric'], ['below', 'above'])
  const metric = members?.metric.string(METRIC, METRIC_EXPECTED) ?? null
  if (members === null || metric === null) return null
  if (!labelled && !WITHOUT_LABELS.test(metric)) {
    members.metric.problem(`${metric} needs labels, and the pipeline has none (estimated_… does not)`)
  }
  const below = members.below.number()
  const above = members.above.number()
  if (!members.below.given && !members.above.given) return place.problem('below, above or both are expected')
  return { kind: 'quality', metric, below, above }
}

function readSilence(place: Cursor): CompiledAlertRule['silence'] {
  if (!place.given) return null
  const members = place.object(['from', 'to'])
  if (members === null) return null
  const fromMinute = readTimeOfDay(members.from)
  const toMinute = readTimeOfDay(members.to)
  if (fromMinute === null || toMinute === null) return null
  return fromMinute === toMinute ? members.to.problem('the silence would be over at once') : { fromMinute, toMinute }
}

function readTimeOfDay(place: Cursor): number | null {
  const text = place.string(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of day (UTC) such as 22:30')
  return text === null ? null : Number(text.slice(0, 2)) * 60 + Number(text.slice(3))
}
