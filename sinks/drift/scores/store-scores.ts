import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { serverTime } from '../panes/server-time.ts'
import { sqlText } from '../sql-text.ts'
import { readMomentWindows, readSubjectWindows, type WindowsOf } from './read-windows.ts'
import type { WindowScore, WindowScorer } from './score-windows.ts'

const COLUMNS =
  `pipeline profile model_version role feature subject segment metric window_start window_end status value noise_floor threshold
  p_value drift n_reference n contributions closed params computed_at`.split(/\s+/)

/**
 * Scores these windows (starts, ascending) from their panes and replaces what was said of them. Of two computations the one that began to
 * read later stays, so it may be done twice at once. Resolves with how many scores there are.
 */
export async function storeScores(
  clickhouse: Pick<ClickHouseClient, 'rows' | 'insert'>,
  of: WindowsOf,
  scorer: WindowScorer,
  windows: readonly { readonly start: number; readonly closed: boolean }[],
): Promise<number> {
  if (windows.length === 0) return 0
  const starts = windows.map(({ start }) => start)
  const computedAt = await serverTime(clickhouse)
  const subjects = await readSubjectWindows(clickhouse, of, starts)
  const moments = scorer.weights === null ? [] : await readMomentWindows(clickhouse, of, starts, scorer.weights)
  const scores = scorer.score(subjects, moments)
  const closed = new Set(windows.filter((window) => window.closed).map(({ start }) => start))
  const rows = scores.map((score) => scoreRow(of, score, closed.has(score.window), computedAt))
  await clickhouse.insert('drift_scores', COLUMNS, rows)
  return rows.length
}

function scoreRow({ pipeline, profile, windowMs }: WindowsOf, score: WindowScore, closed: boolean, computedAt: number) {
  const { pValue, adjusted } = score
  return {
    ...{ pipeline, profile, model_version: score.version, role: score.role, feature: score.feature },
    ...{ subject: score.subject, segment: score.segment, metric: score.metric },
    window_start: score.window / 1_000,
    window_end: (score.window + windowMs) / 1_000,
    status: score.isKnown ? 'ok' : 'insufficient_data',
    ...{ value: score.value, noise_floor: score.noiseFloor, threshold: score.threshold },
    ...{ p_value: pValue, drift: score.drift, n_reference: score.nReference, n: score.n },
    contributions: Array.from(score.contributions),
    closed,
    params: adjusted === null ? score.params : { ...score.params, p_adjusted: String(adjusted) },
    computed_at: computedAt,
  }
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
