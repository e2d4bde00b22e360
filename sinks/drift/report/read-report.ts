import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText, sqlTime } from '../../../schemas/clickhouse/sql-text.ts'

export interface ReportWindow {
  /** Of the views' names. */
  readonly prefix: string
  /** Event time, epoch ms: from ≤ t < to. */
  readonly from: number
  readonly to: number
}

/** What all metrics say of a window; times are epoch ms. */
export interface DriftCell {
  readonly start: number
  readonly model_version: string
  readonly segment: string
  readonly subject: 'feature' | 'score'
  readonly feature: string
  /** How many times its threshold the worst metric is. */
  readonly times: number
  /** False = too few records to say anything. */
  readonly known: boolean
  readonly drifts: boolean
  readonly n: number
  /** Worst first. */
  readonly metrics: readonly (readonly [metric: string, value: number, threshold: number])[]
}

export interface SubjectCounts {
  readonly subject: 'feature' | 'score'
  readonly feature: string
  readonly model_version: string
  readonly labels: readonly string[]
  readonly reference: readonly number[]
  readonly counts: readonly number[]
}

export interface QualityPoint {
  readonly start: number
  readonly model_version: string
  readonly metric: string
  /** 65535 = all that is known. */
  readonly known_after: number
  readonly value: number
  readonly low: number
  readonly high: number
  readonly known: number
  readonly n: number
}

export interface CalibrationPoint {
  readonly model_version: string
  readonly promised: number
  readonly came: number
  readonly events: number
}

export interface LabelLag {
  readonly model_version: string
  /** Null = no label yet. */
  readonly lag_hours: number | null
  readonly predictions: number
}

export interface ReportData {
  readonly window: ReportWindow
  readonly versions: readonly {
    readonly model_version: string
    readonly role: string
    readonly n: number
    readonly first: number
    readonly last: number
  }[]
  /** Null = nothing in the window was compared with a profile. */
  readonly profile: { readonly profile: string; readonly rows: number; readonly model: string } | null
  /** All features together over time, and the last closed window by segment. */
  readonly drift: readonly DriftCell[]
  readonly segments: readonly DriftCell[]
  readonly counts: readonly SubjectCounts[]
  readonly scores: readonly SubjectCounts[]
  readonly quality: readonly QualityPoint[]
  readonly calibration: readonly CalibrationPoint[]
  readonly lags: readonly LabelLag[]
  readonly challengers: readonly {
    readonly start: number
    readonly champion: string
    readonly challenger: string
    readonly metric: string
    readonly gain: number
    readonly error: number
    readonly p_value: number | null
    readonly pairs: number
  }[]
  readonly alerts: readonly {
    readonly at: number
    readonly rule: string
    readonly state: string
    readonly severity: string
    readonly message: string
    readonly evidence_sql: string
  }[]
  readonly firing: readonly string[]
}

const SERVED = "role != 'shadow'"
/** ClickHouse writes what is no number as text. */
const NUMBERS = new Set(['value', 'low', 'high', 'times', 'promised', 'came', 'gain', 'error', 'p_value'])

/** Everything that a report shows. Rejects as ClickHouse does; `clickhouse_error` also when the views are not there. */
export async function readReport(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  window: ReportWindow,
): Promise<ReportData> {
  const { prefix, from, to } = window
  const inWindows = `window_end > ${sqlTime(from)} AND window_start < ${sqlTime(to)}`
  const inPanes = `pane >= ${sqlTime(from)} AND pane < ${sqlTime(to)}`
  const inTime = (column: string): string => `${column} >= ${sqlTime(from)} AND ${column} < ${sqlTime(to)}`
  const read = async <T extends object>(sql: string): Promise<readonly T[]> =>
    (await clickhouse.rows<T>(sql)).map((row) => withNumbers(row))

  const [profile = null] = await read<NonNullable<ReportData['profile']>>(
    `SELECT profile, toFloat64(any(reference_rows)) AS rows, any(model) AS model FROM ${prefix}_profiles
     WHERE profile = (SELECT argMax(profile, computed_at) FROM ${prefix}_drift WHERE ${inWindows} AND ${SERVED}) GROUP BY profile`,
  )
  const compared = `profile = ${sqlText(profile?.profile ?? '')} AND ${SERVED}`
  const cells = (where: string): Promise<readonly DriftCell[]> =>
    read(
      `SELECT ${ms('window_start')} AS start, model_version, segment, subject, feature, maxIf(times_threshold, status = 'ok' AND isFinite(times_threshold)) AS times,
         toBool(max(status = 'ok')) AS known, toBool(max(drift)) AS drifts, toFloat64(max(n)) AS n,
         arraySort(m -> -m.2 / m.3, groupArrayIf((toString(metric), value, threshold), status = 'ok')) AS metrics
       FROM ${prefix}_drift WHERE ${compared} AND ${inWindows} AND ${where}
       GROUP BY start, model_version, role, segment, subject, feature ORDER BY start, subject, feature, segment, model_version`,
    )
  const counts = (version: string, where: string): Promise<readonly SubjectCounts[]> =>
    read(
      `SELECT subject, feature, ${version} AS version_, version_ AS model_version, any(t.labels) AS labels,
         arrayMap(c -> toFloat64(c), any(t.reference_counts)) AS reference, arrayMap(c -> toFloat64(c), sumForEach(t.counts)) AS counts
       FROM ${prefix}_panes AS t WHERE segment = '*' AND ${compared} AND ${inPanes} AND ${where}
       GROUP BY subject, feature, version_ ORDER BY subject, feature, version_`,
    )
  return {
    window,
    profile,
    versions: await read(
      `SELECT model_version, role, toFloat64(count()) AS n, ${ms('min(event_time)')} AS first, ${ms('max(event_time)')} AS last
       FROM ${prefix}_predictions WHERE ${inTime('event_time')} GROUP BY model_version, role ORDER BY first, model_version, role`,
    ),
    drift: profile === null ? [] : await cells("segment = '*'"),
    segments:
      profile === null
        ? []
        : await cells(
            `segment != '*' AND window_start = (SELECT max(window_start) FROM ${prefix}_drift WHERE ${compared} AND ${inWindows} AND closed)`,
          ),
    counts: profile === null ? [] : await counts(`''`, '1'),
    scores: profile === null ? [] : await counts('toString(t.model_version)', "subject = 'score'"),
    quality: await read(
      `SELECT ${ms('window_start')} AS start, model_version, metric, ifNull(known_after_hours, 65535) AS known_after, value, low, high,
         toFloat64(known) AS known, toFloat64(n) AS n
       FROM
       (
         SELECT window_start, window_end, model_version, role, segment, metric, known_after_hours, value, low, high, known, n, status FROM ${prefix}_quality_by_lag
         UNION ALL
         SELECT window_start, window_end, model_version, role, segment, metric, NULL, value, low, high, known, n, status FROM ${prefix}_quality_over_time
         WHERE metric LIKE 'estimated_%'
       )
       WHERE segment = '*' AND ${SERVED} AND status = 'ok' AND ${inWindows} ORDER BY metric, model_version, start`,
    ),
    calibration: await read(
      `SELECT model_version, toFloat64(sum(positive) + sum(negative)) AS events, sum(score_sum) / events AS promised, sum(positive) / events AS came
       FROM ${prefix}_outcomes WHERE segment = '*' AND ${SERVED} AND label_kind = 'boolean' AND ${inPanes}
       GROUP BY model_version, intDiv(score_bin, 10) ORDER BY model_version, promised`,
    ),
    lags: await read(
      `SELECT model_version, lag_hours, toFloat64(sum(t.predictions)) AS predictions FROM ${prefix}_outcomes AS t
       WHERE segment = '*' AND ${SERVED} AND ${inPanes} GROUP BY model_version, lag_hours ORDER BY model_version, lag_hours`,
    ),
    challengers: await read(
      `SELECT ${ms('window_start')} AS start, champion, challenger, metric, gain, standard_error AS error, p_value, toFloat64(t.pairs) AS pairs
       FROM ${prefix}_challengers AS t WHERE status = 'ok' AND ${inWindows} ORDER BY start, challenger, metric`,
    ),
    alerts: await read(
      `SELECT ${ms('t.at')} AS at, rule, state, severity, message, evidence_sql FROM ${prefix}_alerts AS t WHERE ${inTime('t.at')} ORDER BY t.at`,
    ),
    firing: (await read<{ rule: string }>(`SELECT rule FROM ${prefix}_alerts_now ORDER BY rule`)).map(
      ({ rule }) => rule,
    ),
  }
}

function ms(time: string): string {
  return `toFloat64(toUnixTimestamp(${time})) * 1000`
}

function withNumbers<T extends object>(row: T): T {
  const read = ([name, value]: [string, unknown]): [string, unknown] => {
    if (name === 'metrics')
      return [name, (value as [string, unknown, unknown][]).map(([m, v, t]) => [m, Number(v), Number(t)])]
    return [name, NUMBERS.has(name) && value !== null ? Number(value) : value]
  }
  return Object.fromEntries(Object.entries(row).map(read)) as T
}
