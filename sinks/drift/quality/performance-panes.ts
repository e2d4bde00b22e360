import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText, sqlTime } from '../../../schemas/clickhouse/sql-text.ts'
import { inPanesSql, paneSql } from '../panes/pane-time.ts'
import type { PaneSettings } from './performance-inputs.ts'

/** Bins of the score, of equal width from 0 to 1. */
const SCORE_BINS = 200
/** Of a prediction without a label. */
const NO_LABEL_HOURS = 65_535
const MAX_LAG_HOURS = 720
/** Probabilities are kept so far away from 0 and 1. */
const SURE = 1e-15

/**
 * Computes the panes that start at these times (epoch ms) anew and replaces them, with every lag and segment that they have or had. All of
 * it is one statement, and the row that was computed last counts: whoever repeats it, or does it at the same time, does no harm.
 */
export async function replacePerformancePanes(
  clickhouse: Pick<ClickHouseClient, 'command'>,
  options: PaneSettings,
  panes: readonly number[],
): Promise<void> {
  if (panes.length > 0) await clickhouse.command(performancePanesSql(options, panes))
}

const SUMMED = ['true_positive', 'false_positive', 'false_negative'] as const
const ERRORS = ['log_loss', 'squared_error', 'fourth_power_error', 'absolute_error'] as const
const COUNTED = ['counts', 'positive', 'negative'] as const

function performancePanesSql(options: PaneSettings, panes: readonly number[]): string {
  const pipeline = sqlText(options.pipeline)
  const { paneMs } = options
  const pane = paneSql(paneMs)
  const inPanes = `pipeline = ${pipeline} AND role != 'shadow' AND answer != 'fallback' AND ${inPanesSql(panes, paneMs)}`
  const columns = ['n', ...COUNTED, 'score_sums', ...SUMMED, ...ERRORS]
  return `INSERT INTO performance_panes
  (pipeline, model, model_version, role, segment, pane_seconds, pane, lag_hours, kind, ${columns.join(', ')}, computed_at)
SELECT ${pipeline}, model, model_version, role, segment, ${paneMs / 1_000}, pane, lag_hours, kind,
  sum(n_), ${COUNTED.map((name) => `sumForEach(${name}_)`).join(', ')}, sumForEach(score_sums_),
  ${[...SUMMED, ...ERRORS].map((name) => `sum(${name}_)`).join(', ')}, now64(3)
FROM
(
  SELECT model, model_version, role, shown AS segment, toDateTime(intDiv(start, 1000), 'UTC') AS pane, lag_hours, kind,
    count() AS n_,
    countResample(0, ${SCORE_BINS}, 1)(bin) AS counts_,
    countResampleIf(0, ${SCORE_BINS}, 1)(bin, kind IN ('boolean', 'class') AND truth = 1) AS positive_,
    countResampleIf(0, ${SCORE_BINS}, 1)(bin, kind IN ('boolean', 'class') AND truth = 0) AS negative_,
    sumResample(0, ${SCORE_BINS}, 1)(score_, bin) AS score_sums_,
    countIf(kind = 'boolean' AND score_ >= ${options.threshold} AND truth = 1) AS true_positive_,
    countIf(kind = 'boolean' AND score_ >= ${options.threshold} AND truth = 0) AS false_positive_,
    countIf(kind = 'boolean' AND score_ < ${options.threshold} AND truth = 1) AS false_negative_,
    sumIf(-log(if(truth = 1, sure, 1 - sure)), kind IN ('boolean', 'class')) AS log_loss_,
    sumIf(pow(score_ - truth, 2), kind != '') AS squared_error_,
    sumIf(pow(score_ - truth, 4), kind != '') AS fourth_power_error_,
    sumIf(abs(score_ - truth), kind != '') AS absolute_error_
  FROM
  (
    SELECT toString(p.model) AS model, toString(p.model_version) AS model_version, toString(p.role) AS role, p.start AS start,
      arrayJoin(if(p.segment = '', ['*'], ['*', toString(p.segment)])) AS shown,
      if(l.kind IN ('boolean', 'number', 'class'), l.kind, '') AS kind,
      multiIf(kind = 'class', toFloat64(ifNull(p.label, '') = l.class), kind = 'boolean', toFloat64(l.value >= 0.5), l.value) AS truth,
      toFloat64(p.score) AS score_,
      greatest(${SURE}, least(1 - ${SURE}, score_)) AS sure,
      toUInt8(greatest(0, least(${SCORE_BINS - 1}, floor(score_ * ${SCORE_BINS})))) AS bin,
      if(kind = '', toUInt16(${NO_LABEL_HOURS}),
        toUInt16(greatest(0, least(${MAX_LAG_HOURS}, intDiv(dateDiff('millisecond', p.event_time, l.label_time), 3600000))))) AS lag_hours
    FROM
    (
      SELECT tenant, event_id, event_time, model, model_version, role, segment, score, label, ${pane} AS start
      FROM predictions FINAL WHERE ${inPanes}
      SETTINGS do_not_merge_across_partitions_select_final = 1
    ) AS p
    LEFT JOIN
    (
      SELECT tenant, event_id, toString(kind) AS kind, value, toString(class) AS class, label_time FROM labels FINAL
      WHERE pipeline = ${pipeline} AND (tenant, event_id) IN (SELECT tenant, event_id FROM predictions WHERE ${inPanes})
    ) AS l ON l.tenant = p.tenant AND l.event_id = p.event_id
  )
  GROUP BY model, model_version, role, segment, start, lag_hours, kind
  UNION ALL
  SELECT toString(model), toString(model_version), toString(role), toString(segment), pane, lag_hours, toString(kind),
    0, ${COUNTED.map(() => "CAST([], 'Array(UInt64)')").join(', ')}, CAST([], 'Array(Float64)'),
    ${[...SUMMED.map(() => 'toUInt64(0)'), ...ERRORS.map(() => 'toFloat64(0)')].join(', ')}
  FROM performance_panes FINAL
  WHERE pipeline = ${pipeline} AND n > 0 AND pane_seconds = ${paneMs / 1_000} AND pane IN (${panes.map(sqlTime).join(', ')})
)
GROUP BY model, model_version, role, segment, pane, lag_hours, kind`
}
