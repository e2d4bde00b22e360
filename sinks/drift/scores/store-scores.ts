import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import { serverTime } from '../panes/server-time.ts'
import { readMomentWindows, readSubjectWindows, type WindowsOf } from './read-windows.ts'
import type { ScoredSubject, WindowScorer } from './score-windows.ts'

const COLUMNS =
  `pipeline profile model_version role feature subject segment metric window_start window_end status value noise_floor threshold
  p_value p_adjusted drift n_reference n contributions closed params computed_at`.split(/\s+/)

/**
 * Scores these windows (starts, ascending) from their panes and replaces what was said of them. Of two computations the one that began to
 * read later stays, so it may be done twice at once. Resolves with how many scores there are.
 */
export async function storeScores(
  clickhouse: Pick<ClickHouseClient, 'rows' | 'insertBody'>,
  of: WindowsOf,
  scorer: WindowScorer,
  windows: readonly { readonly start: number; readonly closed: boolean }[],
): Promise<number> {
  if (windows.length === 0) return 0
  const starts = windows.map(({ start }) => start)
  const computedAt = await serverTime(clickhouse)
  const [subjects, moments] = await Promise.all([
    readSubjectWindows(clickhouse, of, starts),
    scorer.weights === null ? [] : readMomentWindows(clickhouse, of, starts, scorer.weights),
  ])
  const closed = new Set(windows.filter((window) => window.closed).map(({ start }) => start))
  const lines = scorer
    .score(subjects, moments)
    .flatMap((scored) => scoreLines(of, scored, closed.has(scored.window), computedAt))
  await clickhouse.insertBody('drift_scores', COLUMNS, Buffer.from(lines.join('\n')))
  return lines.length
}

/** Rows as `insertBody` takes them: what a subject's scores have in common is written once. */
function scoreLines(
  { pipeline, profile, windowMs }: WindowsOf,
  { version, role, segment, window, feature, subject, params, scores }: ScoredSubject,
  closed: boolean,
  computedAt: number,
): string[] {
  const same = JSON.stringify({
    ...{ pipeline, profile, model_version: version, role, feature, subject, segment, closed },
    ...{ window_start: window / 1_000, window_end: (window + windowMs) / 1_000, computed_at: computedAt },
  }).slice(0, -1)
  const shared = JSON.stringify(params).slice(0, -1)
  const before = shared === '{' ? shared : `${shared},`
  return scores.map((score) => {
    const { metric, pValue, adjusted, value, noiseFloor, threshold, thresholdBy, drift, n, nReference, contributions } =
      score
    return `${same},"metric":"${metric}","status":"${pValue === null ? 'insufficient_data' : 'ok'}","value":${number(value)},\
"noise_floor":${number(noiseFloor)},"threshold":${number(threshold)},"p_value":${pValue === null ? 'null' : number(pValue)},\
"p_adjusted":${adjusted === null ? 'null' : number(adjusted)},"drift":${drift},"n":${n},"n_reference":${nReference},\
"params":${before}"threshold_by":"${thresholdBy}"},"contributions":[${Array.from(contributions, number).join(',')}]}`
  })
}

/** JSON has no NaN and no infinity: they travel as text. */
function number(value: number): string {
  return Number.isFinite(value) ? String(value) : `"${value}"`
}

/** Windows with panes that are newer than their scores, or that have no scores. Starts, ascending. */
export async function unscoredWindows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: WindowsOf,
): Promise<readonly number[]> {
  const seconds = of.windowMs / 1_000
  const named = `pipeline = ${sqlText(of.pipeline)} AND profile = ${sqlText(of.profile)}`
  const rows = await clickhouse.rows<{ start: number }>(
    `SELECT toFloat64(panes.start) * 1000 AS start FROM
     (SELECT intDiv(toUnixTimestamp(pane), ${seconds}) * ${seconds} AS start, max(computed_at) AS at FROM feature_panes
      WHERE ${named} AND pane_seconds = ${of.paneMs / 1_000} GROUP BY start) AS panes
     LEFT JOIN
     (SELECT toUnixTimestamp(window_start) AS start, max(computed_at) AS at FROM drift_scores
      WHERE ${named} AND dateDiff('second', window_start, window_end) = ${seconds} GROUP BY start) AS scores
     ON panes.start = scores.start
     WHERE panes.at >= scores.at ORDER BY panes.start`,
  )
  return rows.map(({ start }) => start)
}

/** Windows whose scores say that they are not over. Starts, ascending. */
export async function openWindows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  of: WindowsOf,
): Promise<readonly number[]> {
  const rows = await clickhouse.rows<{ start: number }>(
    `SELECT DISTINCT toFloat64(toUnixTimestamp(window_start)) * 1000 AS start FROM drift_scores FINAL
     WHERE pipeline = ${sqlText(of.pipeline)} AND profile = ${sqlText(of.profile)} AND NOT closed
       AND dateDiff('second', window_start, window_end) = ${of.windowMs / 1_000} ORDER BY start`,
  )
  return rows.map(({ start }) => start)
}
