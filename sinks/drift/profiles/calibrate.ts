import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { Calibration } from '../../../schemas/control/profiles.ts'
import { fitCalibration } from '../statistics/cbpe.ts'
import { fitIsotonic } from '../statistics/isotonic.ts'

/** Fitted on so many rows at most, chosen and ordered by what is in them: the same rows always give the same. */
const MAX_ROWS = 500_000

/**
 * How the score becomes a probability, from the rows that have both score and label; null unless these are probabilities of a truth that is
 * yes or no, and both occur.
 */
export async function calibrate(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  table: string,
): Promise<Calibration | null> {
  const labelled = `FROM ${table} WHERE NOT isNaN(score) AND NOT isNaN(label)`
  const [found] = await clickhouse.rows<{ foreign: string; positive: string; negative: string }>(
    `SELECT countIf(label NOT IN (0, 1) OR score < 0 OR score > 1) AS foreign, countIf(label = 1) AS positive,
       countIf(label = 0) AS negative ${labelled}`,
  )
  if (Number(found?.foreign) !== 0 || Number(found?.positive) === 0 || Number(found?.negative) === 0) return null
  const [rows] = await clickhouse.rows<{ scores: readonly number[]; labels: readonly number[] }>(
    `SELECT groupArray(toFloat64(score)) AS scores, groupArray(label) AS labels
     FROM (SELECT score, label ${labelled} ORDER BY cityHash64(features, score, label, segment) LIMIT ${MAX_ROWS})`,
  )
  if (rows === undefined) return null
  // where calibrating does not help, the score is the probability
  const fit = fitCalibration(rows.scores, rows.labels) ?? fitIsotonic([0, 1], [0, 1])
  return { scores: fit.x, probabilities: fit.y }
}
