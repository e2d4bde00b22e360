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

/** Sums over the panes of windows that begin at these times, epoch ms, for each time of `KNOWN_AFTER_HOURS`. */
export async function windowSums(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  settings: PaneSettings & { readonly windowMs: number },
  starts: readonly number[],
): Promise<readonly WindowSums[]> {
  if (starts.length === 0) return []
  const seconds = settings.windowMs / 1_000
  const window = `intDiv(toUnixTimestamp(pane), ${seconds}) * ${seconds}`
  const end = Math.max(...starts) + settings.windowMs
  const known = 'lag_hours < known_after_hours'
  const array = (sum: string): string => `CAST(${sum}, 'Array(Float64)')`
  return await clickhouse.rows<WindowSums>(
    `SELECT toString(model) AS model, toString(model_version) AS model_version, toString(role) AS role, toString(segment) AS segment,
  ${window} * 1000.0 AS start, known_after_hours, toString(maxIf(kind, ${known})) AS kind,
  toFloat64(sum(p.n)) AS n, toFloat64(sumIf(p.n, ${known})) AS labels,
  ${array(`if(known_after_hours = ${ALL_THAT_IS_KNOWN}, sumForEach(p.counts), [])`)} AS counts,
  ${array(`if(known_after_hours = ${ALL_THAT_IS_KNOWN}, sumForEach(p.score_sums), [])`)} AS score_sums,
  ${array(`sumForEachIf(p.score_sums, ${known})`)} AS known_score_sums,
  ${array(`sumForEachIf(p.positive, ${known})`)} AS positive,
  ${array(`sumForEachIf(p.negative, ${known})`)} AS negative,
  ${SUMS.map((name) => `toFloat64(sumIf(p.${name}, ${known})) AS ${name}`).join(', ')}
FROM performance_panes AS p FINAL
ARRAY JOIN CAST([${KNOWN_AFTER_HOURS.join(', ')}], 'Array(UInt16)') AS known_after_hours
WHERE pipeline = ${sqlText(settings.pipeline)} AND pane_seconds = ${settings.paneMs / 1_000} AND p.n > 0
  AND pane >= ${sqlTime(Math.min(...starts))} AND pane < ${sqlTime(end)} AND ${window} IN (${starts.map((start) => start / 1_000).join(', ')})
GROUP BY p.model, p.model_version, p.role, p.segment, ${window}, known_after_hours
ORDER BY start, model, model_version, role, segment, known_after_hours`,
  )
}
