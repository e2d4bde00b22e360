import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText, sqlTime } from '../../../schemas/clickhouse/sql-text.ts'
import type { ProfileEntry } from '../../../schemas/control/profiles.ts'
import { gains, type Pairs, readPairs } from './challengers.ts'
import { estimatedMetrics, gapMetrics, type Metric, realizedMetrics } from './metrics.ts'
import type { PaneSettings } from './performance-inputs.ts'
import { ALL_THAT_IS_KNOWN, type WindowSums, windowSums } from './window-sums.ts'

export interface QualitySettings extends PaneSettings {
  readonly windowMs: number
  /** With fewer predictions (or labels, for what is computed from them) a metric is `insufficient_data`. */
  readonly minRows: number
}

export interface QualityMoment {
  readonly profile: ProfileEntry | null
  /** Largest event time, epoch ms; a window is closed when it is past its end by a pane. */
  readonly seenUntil: number
  /** Epoch ms. */
  readonly now: number
}

/** Columns, in the manner of the table. */
interface ScoreRow {
  readonly pipeline: string
  readonly model: string
  readonly model_version: string
  readonly role: string
  readonly segment: string
  readonly metric: string
  /** Epoch s. */
  readonly window_start: number
  readonly window_end: number
  readonly known_after_hours: number
  readonly status: 'ok' | 'insufficient_data'
  readonly value: number
  readonly standard_error: number
  readonly n: number
  readonly labels: number
  readonly coverage: number
  readonly closed: boolean
  readonly params: Readonly<Record<string, string>>
  readonly computed_at: number
}

/** Windows at once: each has four rows of histograms a segment and version. */
const WINDOWS_AT_ONCE = 20
/** Windows that are scored anew in one round though nothing of them has changed. */
const MAX_DUE = 200

/** Scores windows that begin at these times (epoch ms) anew and replaces every score that they had. */
export async function scoreWindows(
  clickhouse: Pick<ClickHouseClient, 'rows' | 'insert'>,
  settings: QualitySettings,
  moment: QualityMoment,
  starts: readonly number[],
): Promise<void> {
  for (let at = 0; at < starts.length; at += WINDOWS_AT_ONCE) {
    const some = starts.slice(at, at + WINDOWS_AT_ONCE)
    const sums = await windowSums(clickhouse, settings, some)
    const rows = sums.flatMap((each) => rowsOf(settings, moment, each))
    for (const start of some) {
      const pairs = await readPairs(clickhouse, settings.pipeline, start, start + settings.windowMs)
      rows.push(...pairs.flatMap((each) => gainRows(settings, moment, each, start)))
    }
    const gone = await vanished(clickhouse, settings, moment, some, new Set(rows.map(keyOf)))
    await insert(clickhouse, [...rows, ...gone])
  }
}

/** Windows that have closed since they were scored, or were scored with another profile: starts in epoch ms, at most 200. */
export async function dueWindows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  settings: QualitySettings,
  { profile, seenUntil }: QualityMoment,
): Promise<readonly number[]> {
  const rows = await clickhouse.rows<{ start: number }>(
    `SELECT DISTINCT toUnixTimestamp(window_start) * 1000.0 AS start FROM quality_scores FINAL
     WHERE pipeline = ${sqlText(settings.pipeline)} AND metric = 'coverage' AND n > 0 AND known_after_hours = ${ALL_THAT_IS_KNOWN}
       AND dateDiff('second', window_start, window_end) = ${settings.windowMs / 1_000}
       AND ((NOT closed AND window_end <= ${sqlTime(seenUntil - settings.paneMs)}) OR params['profile'] != ${sqlText(profile?.profile ?? '')})
     ORDER BY start LIMIT ${MAX_DUE}`,
  )
  return rows.map(({ start }) => start)
}

function rowsOf(settings: QualitySettings, moment: QualityMoment, sums: WindowSums): ScoreRow[] {
  const { threshold, minRows } = settings
  const content = moment.profile?.content
  const calibration = content?.model === sums.model ? content.calibration : null
  const isLast = sums.known_after_hours === ALL_THAT_IS_KNOWN
  const profile = { profile: moment.profile?.profile ?? '' }
  const coverage: Metric = {
    metric: 'coverage',
    value: sums.labels / sums.n,
    standardError: Number.NaN,
    of: 'predictions',
    params: profile,
  }
  const estimates =
    calibration === null
      ? []
      : [...(isLast ? estimatedMetrics(sums, calibration, threshold) : []), ...gapMetrics(sums, calibration)]
  const metrics = [
    coverage,
    ...realizedMetrics(sums, threshold),
    ...estimates.map((metric) => ({ ...metric, params: { ...metric.params, ...profile } })),
  ]
  return metrics.map(({ metric, value, standardError, of, params }) => {
    const enough = (of === 'labels' ? sums.labels : sums.n) >= minRows && Number.isFinite(value)
    return {
      ...{ pipeline: settings.pipeline, model: sums.model, model_version: sums.model_version, role: sums.role },
      ...{ segment: sums.segment, metric, known_after_hours: sums.known_after_hours },
      ...windowOf(settings, moment, sums.start),
      status: enough ? 'ok' : 'insufficient_data',
      ...{ value, standard_error: standardError, n: sums.n, labels: sums.labels },
      coverage: sums.labels / sums.n,
      params,
      computed_at: moment.now,
    }
  })
}

function gainRows(settings: QualitySettings, moment: QualityMoment, pairs: Pairs, start: number): ScoreRow[] {
  const n = pairs.truth.length
  return gains(pairs).map(({ metric, value, standardError, params }) => ({
    ...{ pipeline: settings.pipeline, model: pairs.model, model_version: pairs.challenger, role: 'shadow' },
    ...{ segment: '*', metric, known_after_hours: ALL_THAT_IS_KNOWN },
    ...windowOf(settings, moment, start),
    status: n >= settings.minRows && Number.isFinite(value) ? 'ok' : 'insufficient_data',
    ...{ value, standard_error: standardError, n, labels: n, coverage: 1 },
    params,
    computed_at: moment.now,
  }))
}

function windowOf({ windowMs, paneMs }: QualitySettings, { seenUntil }: QualityMoment, start: number) {
  const end = start + windowMs
  return { window_start: start / 1_000, window_end: end / 1_000, closed: seenUntil >= end + paneMs }
}

const KEY = ['model', 'model_version', 'role', 'segment', 'metric', 'window_start', 'known_after_hours'] as const
type Key = Pick<ScoreRow, (typeof KEY)[number]>

const keyOf = (row: Key): string => JSON.stringify(KEY.map((name) => row[name]))

/** Scores that were there and that nothing stands for any more (labels were withdrawn, say): they say so from now on. */
async function vanished(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  settings: QualitySettings,
  moment: QualityMoment,
  starts: readonly number[],
  present: ReadonlySet<string>,
): Promise<ScoreRow[]> {
  const { pipeline, windowMs } = settings
  const stored = await clickhouse.rows<Key>(
    `SELECT ${KEY.map((name) => (name === 'window_start' ? 'toUnixTimestamp(window_start) AS window_start' : name)).join(', ')}
     FROM quality_scores FINAL
     WHERE pipeline = ${sqlText(pipeline)} AND n > 0 AND quality_scores.window_start IN (${starts.map(sqlTime).join(', ')})
       AND dateDiff('second', quality_scores.window_start, window_end) = ${windowMs / 1_000}`,
  )
  return stored
    .filter((row) => !present.has(keyOf(row)))
    .map((row) => ({
      ...row,
      pipeline,
      ...windowOf(settings, moment, row.window_start * 1_000),
      status: 'insufficient_data',
      ...{ value: Number.NaN, standard_error: Number.NaN, n: 0, labels: 0, coverage: Number.NaN },
      params: {},
      computed_at: moment.now,
    }))
}

async function insert(clickhouse: Pick<ClickHouseClient, 'insert'>, rows: readonly ScoreRow[]): Promise<void> {
  const [first] = rows
  if (first !== undefined) await clickhouse.insert('quality_scores', Object.keys(first), rows)
}
