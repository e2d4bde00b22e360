import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { IS_LABEL } from '../../../schemas/clickhouse/label-kinds.ts'
import { sqlText, sqlTime } from '../../../schemas/clickhouse/sql-text.ts'
import { inPanesSql, paneSql } from '../panes/pane-time.ts'
import type { PanePortion } from '../panes/portions.ts'
import { EVENT_KEY, eventsOfSql } from './events-of.ts'
import type { PaneSettings } from './performance-inputs.ts'

/** Bins of the score, of equal width from 0 to 1. */
const SCORE_BINS = 200
/** Of a prediction without a label. */
const NO_LABEL_HOURS = 65_535
const MAX_LAG_HOURS = 720
/** Probabilities are kept so far away from 0 and 1. */
const SURE = 1e-15

/**
 * Computes these panes anew and replaces them, with every lag and segment that they have or had. All of
 * it is one statement, and the row that was computed last counts: whoever repeats it, or does it at the same time, does no harm.
 */
export async function replacePerformancePanes(
  clickhouse: Pick<ClickHouseClient, 'command'>,
  options: PaneSettings,
  portion: PanePortion,
): Promise<void> {
  if (portion.panes.length > 0) await clickhouse.command(performancePanesSql(options, portion))
}

const KEY = ['model', 'model_version', 'role', 'segment', 'pane', 'lag_hours', 'kind'] as const
const SUMMED = ['n', 'true_positive', 'false_positive', 'false_negative'] as const
const ERRORS = ['log_loss', 'squared_error', 'fourth_power_error', 'absolute_error'] as const
const BY_BIN = ['counts', 'positive', 'negative', 'score_sums'] as const
const COLUMNS = [...SUMMED, ...ERRORS, ...BY_BIN] as const
/** A segment that is called like all of them is in all of them. */
const SHOWN = `arrayJoin(if(segment_ IN ('', '*'), ['*'], ['*', segment_]))`

function performancePanesSql(options: PaneSettings, { panes, rows }: PanePortion): string {
  const pipeline = sqlText(options.pipeline)
  const seconds = options.paneMs / 1_000
  const gone = `pipeline = ${pipeline} AND n > 0 AND pane_seconds = ${seconds} AND pane IN (${panes.map(sqlTime).join(', ')})`
  return `INSERT INTO performance_panes (pipeline, pane_seconds, ${KEY.join(', ')}, ${COLUMNS.join(', ')}, computed_at)
SELECT ${pipeline}, ${seconds}, ${KEY.join(', ')},
  ${[...SUMMED, ...ERRORS].map((name) => `sum(${name}_)`).join(', ')}, ${BY_BIN.map((name) => `sumForEach(${name}_)`).join(', ')}, now64(3)
FROM
(
  SELECT model, model_version, role, ${SHOWN} AS segment, pane, lag_hours, kind, ${COLUMNS.map((name) => `${name}_`).join(', ')}
  FROM (${outcomesSql(options, panes, rows)})
  UNION ALL
  SELECT ${KEY.map((name) => (name === 'pane' || name === 'lag_hours' ? name : `toString(${name})`)).join(', ')},
    ${[...SUMMED.map(() => 'toUInt64(0)'), ...ERRORS.map(() => 'toFloat64(0)')].join(', ')},
    ${BY_BIN.map((name) => (name === 'score_sums' ? "CAST([], 'Array(Float64)')" : "CAST([], 'Array(UInt64)')")).join(', ')}
  FROM performance_panes FINAL WHERE ${gone}
)
GROUP BY ${KEY.join(', ')}`
}

/** What became of the predictions of each segment. The bins of a group are counted once, by what was true of them: 1, 0, or not known. */
function outcomesSql({ pipeline, paneMs, threshold }: PaneSettings, panes: readonly number[], rows: number): string {
  const own = `pipeline = ${sqlText(pipeline)}`
  const inPanes = `${own} AND role != 'shadow' AND answer != 'fallback' AND ${inPanesSql(panes, paneMs)}`
  const ofOutcome = (outcome: number): string => `arraySlice(bins, ${outcome * SCORE_BINS + 1}, ${SCORE_BINS})`
  return `SELECT *, ${ofOutcome(1)} AS positive_, ${ofOutcome(2)} AS negative_,
    arrayMap((a, b, c) -> a + b + c, ${ofOutcome(0)}, positive_, negative_) AS counts_
  FROM
  (
    SELECT model, model_version, role, segment_, toDateTime(intDiv(start, 1000), 'UTC') AS pane, lag_hours, kind,
      count() AS n_,
      countIf(kind = 'boolean' AND score_ >= ${threshold} AND truth = 1) AS true_positive_,
      countIf(kind = 'boolean' AND score_ >= ${threshold} AND truth = 0) AS false_positive_,
      countIf(kind = 'boolean' AND score_ < ${threshold} AND truth = 1) AS false_negative_,
      sumIf(-log(if(truth = 1, sure, 1 - sure)), isTrueOrNot) AS log_loss_,
      sumIf(pow(score_ - truth, 2), kind != '') AS squared_error_,
      sumIf(pow(score_ - truth, 4), kind != '') AS fourth_power_error_,
      sumIf(abs(score_ - truth), kind != '') AS absolute_error_,
      countResample(0, ${3 * SCORE_BINS}, 1)(bin + ${SCORE_BINS} * multiIf(NOT isTrueOrNot, 0, truth = 1, 1, 2)) AS bins,
      sumResample(0, ${SCORE_BINS}, 1)(score_, bin) AS score_sums_
    FROM
    (
      SELECT toString(p.model) AS model, toString(p.model_version) AS model_version, toString(p.role) AS role, p.start AS start,
        toString(p.segment) AS segment_,
        l.kind AS kind,
        kind IN ('boolean', 'class') AS isTrueOrNot,
        multiIf(kind = 'class', toFloat64(ifNull(p.label, '') = l.class), kind = 'boolean', toFloat64(l.value >= 0.5), l.value) AS truth,
        toFloat64(p.score) AS score_,
        greatest(${SURE}, least(1 - ${SURE}, score_)) AS sure,
        toUInt16(greatest(0, least(${SCORE_BINS - 1}, floor(score_ * ${SCORE_BINS})))) AS bin,
        if(kind = '', toUInt16(${NO_LABEL_HOURS}),
          toUInt16(greatest(0, least(${MAX_LAG_HOURS}, intDiv(dateDiff('millisecond', p.event_time, l.label_time), 3600000))))) AS lag_hours
      FROM
      (
        SELECT ${EVENT_KEY} AS event, event_time, model, model_version, role, segment, score, label, ${paneSql(paneMs)} AS start
        FROM predictions FINAL WHERE ${inPanes}
        SETTINGS do_not_merge_across_partitions_select_final = 1
      ) AS p
      LEFT JOIN
      (
        SELECT ${EVENT_KEY} AS event, toString(kind) AS kind, value, toString(class) AS class, label_time
        FROM labels FINAL WHERE ${own} AND ${IS_LABEL} AND ${eventsOfSql(`predictions WHERE ${inPanes}`, rows)}
      ) AS l ON l.event = p.event
    )
    GROUP BY model, model_version, role, segment_, start, lag_hours, kind
  )`
}
