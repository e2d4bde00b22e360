import { sqlText, sqlTime } from '../../../schemas/clickhouse/sql-text.ts'
import type { CompiledAlertRule } from '../../../schemas/pipeline/monitor.ts'
import { ALL_THAT_IS_KNOWN } from '../quality/window-sums.ts'
import type { RuleChange } from './alert-state.ts'

/** What a rule looks at. */
export interface RuleScope {
  readonly pipeline: string
  readonly rule: CompiledAlertRule
  /** Scores count that were computed with this profile; null = there is none, and nothing has drifted from it. */
  readonly profile: string | null
  readonly windowMs: number
}

/** Columns that tell one series of scores from another. */
const SERIES = {
  drift: ['feature', 'subject', 'segment', 'metric', 'model_version', 'role'],
  quality: ['metric', 'segment', 'model', 'model_version', 'role'],
} as const
/** Series that an alert's query names; it counts them all the same. */
const SHOWN_SERIES = 50

/**
 * Closed windows whose end is above `after` and at most `until` (epoch ms), in order: rows of `start`, `end` (epoch ms), `bad`, `silent`
 * (series: the values of their columns as JSON) and `judged`. Of those that have too little data only the series that are bad elsewhere are named.
 */
export function judgedWindowsSql(scope: RuleScope, after: number, until: number): string {
  return `SELECT toUnixTimestamp(window_start) * 1000.0 AS start, toUnixTimestamp(window_end) * 1000.0 AS end,
  groupArrayIf(series, bad) AS bad, groupArrayIf(series, NOT known AND ever) AS silent, toBool(max(known)) AS judged
FROM
(
  SELECT window_start, window_end, series, known, bad, max(bad) OVER (PARTITION BY series) AS ever
  FROM
  (
    SELECT window_start, window_end, toJSONString([${SERIES[scope.rule.on.kind].map((name) => `toString(${name})`).join(', ')}]) AS series,
      status = 'ok' AS known, known AND (${badness(scope.rule)}) AS bad
    FROM ${table(scope)} FINAL
    WHERE ${conditions(scope)} AND closed AND window_end > ${sqlTime(after)} AND window_end <= ${sqlTime(until)}
      AND dateDiff('second', window_start, window_end) = ${scope.windowMs / 1_000}
  )
)
GROUP BY window_start, window_end ORDER BY window_end, window_start`
}

/** The columns of a series in `judgedWindowsSql`, by name. */
function seriesOf(rule: CompiledAlertRule, series: string): Readonly<Record<string, string>> {
  const values = JSON.parse(series) as readonly string[]
  return Object.fromEntries(SERIES[rule.on.kind].map((name, index) => [name, values[index] ?? '']))
}

/**
 * A query for anybody: of a rule that fires the scores that made it fire, window by window, worst last; of one that is resolved the windows
 * with nothing bad in them.
 */
export function evidenceSql(scope: RuleScope, change: RuleChange): string {
  const { rule } = scope
  const first = Math.min(...change.windows.map(({ start }) => start))
  const ends = change.windows.map(({ end }) => sqlTime(end))
  const where = `${conditions(scope)}\n  AND window_start >= ${sqlTime(first)} AND window_end IN (${ends.join(', ')})
  AND dateDiff('second', window_start, window_end) = ${scope.windowMs / 1_000}`
  if (change.state === 'resolved') {
    return `SELECT window_start, window_end, countIf(status = 'ok') AS judged, countIf(status = 'ok' AND (${badness(rule)})) AS bad
FROM ${table(scope)} FINAL
WHERE ${where}
GROUP BY window_start, window_end ORDER BY window_end`
  }
  const columns = SERIES[rule.on.kind]
  const named = change.series.slice(0, SHOWN_SERIES).map((series) => {
    const values = Object.values(seriesOf(rule, series))
    return `(${values.map(sqlText).join(', ')})`
  })
  const figures =
    rule.on.kind === 'drift'
      ? 'value, threshold, noise_floor, drift, n, n_reference'
      : 'value, standard_error, n, labels, coverage'
  return `SELECT window_start, window_end, ${columns.join(', ')}, ${figures}
FROM ${table(scope)} FINAL
WHERE ${where}
  AND (${columns.join(', ')}) IN (${named.join(', ')})
  AND status = 'ok' AND (${badness(rule)})
ORDER BY window_end, value`
}

/** One row, `mark`: the same text as long as no score of the pipeline was written, or read anew in another number of copies. */
export function scoresMarkSql(pipeline: string): string {
  const of = (scores: string): string =>
    `SELECT max(computed_at) AS latest, count() AS copies FROM ${scores} WHERE pipeline = ${sqlText(pipeline)}`
  return `SELECT concat(toString(max(latest)), '/', toString(sum(copies))) AS mark FROM (${of('drift_scores')} UNION ALL ${of('quality_scores')})`
}

function table({ rule }: RuleScope): string {
  return rule.on.kind === 'drift' ? 'drift_scores' : 'quality_scores'
}

function conditions({ pipeline, rule, profile }: RuleScope): string {
  const all = [`pipeline = ${sqlText(pipeline)}`]
  if (rule.on.kind === 'quality') {
    all.push(`metric = ${sqlText(rule.on.metric)}`, `known_after_hours = ${ALL_THAT_IS_KNOWN}`)
  } else {
    const { feature, metric } = rule.on
    all.push(`profile = ${sqlText(profile ?? '')}`)
    if (feature !== null) all.push(`feature = ${sqlText(feature)}`)
    if (metric !== null) all.push(`metric = ${sqlText(metric)}`)
  }
  return all.join(' AND ')
}

function badness({ on }: CompiledAlertRule): string {
  if (on.kind === 'drift') return on.above === null ? 'drift' : `value > ${on.above}`
  const sides = [
    ...(on.below === null ? [] : [`value < ${on.below}`]),
    ...(on.above === null ? [] : [`value > ${on.above}`]),
  ]
  return sides.join(' OR ')
}
