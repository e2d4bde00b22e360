import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import { absoluteErrors, logLosses, squaredErrors } from '../statistics/losses.ts'
import { compareAucs, compareLosses, type PairedTest } from '../statistics/paired.ts'

/** Predictions of a champion and of a challenger in its shadow, of the same labelled events. */
export interface Pairs {
  readonly model: string
  readonly champion: string
  readonly challenger: string
  readonly kind: 'boolean' | 'number'
  readonly served: readonly number[]
  readonly shadowed: readonly number[]
  /** 1 or 0, or the number. */
  readonly truth: readonly number[]
}

export interface Gain {
  readonly metric: string
  /** Positive = the challenger is better. */
  readonly value: number
  readonly standardError: number
  readonly params: Readonly<Record<string, string>>
}

/** Of a window and a challenger; beyond that those whose ids hash lowest, the same ones each time. */
const MAX_PAIRS = 20_000

/** Pairs of the predictions in [from, to), epoch ms; of several champions the one that served the most. */
export async function readPairs(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  pipeline: string,
  from: number,
  to: number,
): Promise<readonly Pairs[]> {
  const time = (at: number): string => `fromUnixTimestamp64Milli(toInt64(${at}), 'UTC')`
  const inWindow = `pipeline = ${sqlText(pipeline)} AND event_time >= ${time(from)} AND event_time < ${time(to)}`
  const shadows = await clickhouse.rows(`SELECT 1 FROM shadow_predictions WHERE ${inWindow} LIMIT 1`)
  if (shadows.length === 0) return []
  return await clickhouse.rows<Pairs>(
    `SELECT model, champion, challenger, kind, groupArray(served) AS served, groupArray(shadowed) AS shadowed, groupArray(truth) AS truth
FROM
(
  SELECT toString(s.model) AS model, toString(p.model_version) AS champion, toString(s.model_version) AS challenger,
    l.kind AS kind, toFloat64(p.score) AS served, toFloat64(s.score) AS shadowed, l.value AS truth
  FROM
  (
    SELECT tenant, event_id, origin_generation, kafka_partition, origin_offset, model_version, score
    FROM predictions FINAL WHERE ${inWindow} AND role != 'shadow' AND answer != 'fallback'
    SETTINGS do_not_merge_across_partitions_select_final = 1
  ) AS p
  INNER JOIN
  (
    SELECT origin_generation, kafka_partition, origin_offset, model, model_version, score
    FROM shadow_predictions FINAL WHERE ${inWindow}
  ) AS s ON s.origin_generation = p.origin_generation AND s.kafka_partition = p.kafka_partition AND s.origin_offset = p.origin_offset
  INNER JOIN
  (
    SELECT tenant, event_id, toString(kind) AS kind, value FROM labels FINAL
    WHERE pipeline = ${sqlText(pipeline)} AND (tenant, event_id) IN (SELECT tenant, event_id FROM predictions WHERE ${inWindow})
  ) AS l ON l.tenant = p.tenant AND l.event_id = p.event_id
  WHERE kind IN ('boolean', 'number')
  ORDER BY cityHash64(p.event_id, p.origin_offset)
  LIMIT ${MAX_PAIRS} BY model, champion, challenger, kind
)
GROUP BY model, champion, challenger, kind
ORDER BY count() DESC, champion
LIMIT 1 BY model, challenger`,
  )
}

/** How much better the challenger is, with the test that says whether that is more than chance. */
export function gains(pairs: Pairs): readonly Gain[] {
  const { served, shadowed, truth, kind } = pairs
  const loss = (name: string, of: (scores: readonly number[]) => Float64Array): Gain =>
    gain(pairs, `${name}_gain`, 'paired z', compareLosses(of(served), of(shadowed)), -1)
  const brier = (scores: readonly number[]): Float64Array => squaredErrors(scores, truth)
  if (kind === 'number') {
    return [loss('absolute_error', (scores) => absoluteErrors(scores, truth)), loss('squared_error', brier)]
  }
  return [
    gain(pairs, 'auc_gain', 'delong', compareAucs(truth, served, shadowed), 1),
    loss('log_loss', (scores) => logLosses(scores, truth)),
    loss('brier', brier),
  ]
}

function gain(pairs: Pairs, metric: string, test: string, found: PairedTest, sign: 1 | -1): Gain {
  return {
    metric,
    value: sign * found.difference,
    standardError: found.standardError,
    params: {
      champion: pairs.champion,
      champion_value: String(found.champion),
      challenger_value: String(found.challenger),
      p_value: String(found.pValue),
      test,
    },
  }
}
