import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText, sqlTime } from '../../../schemas/clickhouse/sql-text.ts'
import type { PaneSettings } from './performance-inputs.ts'

/** After how many hours it is asked what was known; the last = all that is known. */
const KNOWN_AFTER_HOURS = [1, 24, 168, 65_535] as const
export const ALL_THAT_IS_KNOWN = 65_535

/** Whose predictions, and what became of them, in a window. */
export interface WindowSums {
  readonly model: string
  readonly model_version: string
  readonly role: string
  readonly segment: string
  /** Epoch ms. */
  readonly start: number
  readonly known_after_hours: number
  /** Of the labels; empty = there are none. */
  readonly kind: 'boolean' | 'class' | 'number' | ''
  readonly n: number
  /** Predictions with a label that was known by then. */
  readonly labels: number
  /** Of all predictions, labelled or not, by score bin; empty unless all that is known was asked for. */
  readonly counts: readonly number[]
  readonly score_sums: readonly number[]
  /** Of those with a label, as everything below. */
  readonly known_score_sums: readonly number[]
  readonly positive: readonly number[]
  readonly negative: readonly number[]
  readonly true_positive: number
  readonly false_positive: number
  readonly false_negative: number
  readonly log_loss: number
  readonly squared_error: number
  readonly fourth_power_error: number
  readonly absolute_error: number
}

const SUMS = [
  'true_positive',
  'false_positive',
  'false_negative',
  'log_loss',
  'squared_error',
  'fourth_power_error',
  'absolute_error',
] as const

const ARRAYS = ['counts', 'score_sums', 'positive', 'negative'] as const

/**
 * Sums over the panes of windows that begin at these times, epoch ms, for each time of `KNOWN_AFTER_HOURS`. Histograms of all lags between
 * two of these times are added up once.
 */
export async function windowSums(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  settings: PaneSettings & { readonly windowMs: number },
  starts: readonly number[],
): Promise<readonly WindowSums[]> {
  if (starts.length === 0) return []
  const seconds = settings.windowMs / 1_000
  const window = `intDiv(toUnixTimestamp(pane), ${seconds}) * ${seconds}`
  const end = Math.max(...starts) + settings.windowMs
  const hours = `CAST([${KNOWN_AFTER_HOURS.join(', ')}], 'Array(UInt16)')`
  const known = 'known_from <= known_after_hours'
  const array = (sum: string): string => `CAST(${sum}, 'Array(Float64)')`
  const all = (name: string): string => array(`if(known_after_hours = ${ALL_THAT_IS_KNOWN}, sumForEach(${name}_), [])`)
  const text = (name: string): string => `toString(${name}_) AS ${name}`
  const key = 'model_, model_version_, role_, segment_, start_'
  return await clickhouse.rows<WindowSums>(
    `SELECT ${['model', 'model_version', 'role', 'segment'].map(text).join(', ')},
  start_ * 1000.0 AS start, known_after_hours, toString(maxIf(kind_, ${known})) AS kind,
  toFloat64(sum(n_)) AS n, toFloat64(sumIf(n_, ${known})) AS labels,
  ${all('counts')} AS counts, ${all('score_sums')} AS score_sums,
  ${array(`sumForEachIf(score_sums_, ${known})`)} AS known_score_sums,
  ${array(`sumForEachIf(positive_, ${known})`)} AS positive,
  ${array(`sumForEachIf(negative_, ${known})`)} AS negative,
  ${SUMS.map((name) => `toFloat64(sumIf(${name}_, ${known})) AS ${name}`).join(', ')}
FROM
(
  SELECT model AS model_, model_version AS model_version_, role AS role_, segment AS segment_, ${window} AS start_,
    -- the first of these times at which they were known; none for those without a label
    if(lag_hours = ${ALL_THAT_IS_KNOWN}, 65536, arrayFirst(hours -> lag_hours < hours, ${hours})) AS known_from,
    max(kind) AS kind_, sum(p.n) AS n_, ${ARRAYS.map((name) => `sumForEach(p.${name}) AS ${name}_`).join(', ')},
    ${SUMS.map((name) => `sum(p.${name}) AS ${name}_`).join(', ')}
  FROM performance_panes AS p FINAL
  WHERE pipeline = ${sqlText(settings.pipeline)} AND pane_seconds = ${settings.paneMs / 1_000} AND p.n > 0
    AND pane >= ${sqlTime(Math.min(...starts))} AND pane < ${sqlTime(end)} AND ${window} IN (${starts.map((start) => start / 1_000).join(', ')})
  GROUP BY ${key}, known_from
)
ARRAY JOIN ${hours} AS known_after_hours
GROUP BY ${key}, known_after_hours
ORDER BY start, model, model_version, role, segment, known_after_hours`,
  )
}
