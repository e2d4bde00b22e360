import { viewPrefix } from '../../../schemas/clickhouse/pipeline-views.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'

/** Live quality of one month of event time, from the labels that have arrived. */
export interface MonthQuality {
  /** First day of the month, `yyyy-mm-dd`. */
  readonly month: string
  readonly labelled: number
  /** Area under the ROC curve; null for labels that are not boolean or when only one class has been seen. */
  readonly auc: number | null
  /** Share of predictions on the right side; null for numeric labels. */
  readonly accuracy: number | null
}

function qualityView(pipeline: string): string {
  return `${viewPrefix(pipeline)}_quality`
}

interface QualityRow {
  readonly month: string
  readonly labelled: string
  readonly auc: number | string | null
  readonly accuracy: number | null
}

const MEASURES = `count() AS labelled,
  if(uniqExactIf(label_value, label_kind = 'boolean') = 2,
     arrayROCAUC(groupArrayIf(score, label_kind = 'boolean'), groupArrayIf(assumeNotNull(label_value), label_kind = 'boolean')),
     NULL) AS auc,
  avg(correct) AS accuracy`

export async function qualityByMonth(
  pipeline: CompiledPipeline,
  clickhouse: ClickHouseClient,
): Promise<readonly MonthQuality[]> {
  const rows = await clickhouse.rows<QualityRow>(
    `SELECT toString(toStartOfMonth(event_time)) AS month, ${MEASURES}
     FROM ${qualityView(pipeline.name)} GROUP BY month ORDER BY month`,
  )
  return rows.map(toQuality)
}

/** Quality over all events at or after a time, e.g. the end of the model's training data. */
export async function qualitySince(
  pipeline: CompiledPipeline,
  clickhouse: ClickHouseClient,
  sinceMs: number,
): Promise<MonthQuality> {
  const [row] = await clickhouse.rows<QualityRow>(
    `SELECT '' AS month, ${MEASURES} FROM ${qualityView(pipeline.name)}
     WHERE event_time >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')`,
    { since: sinceMs },
  )
  return row === undefined ? { month: '', labelled: 0, auc: null, accuracy: null } : toQuality(row)
}

function toQuality({ month, labelled, auc, accuracy }: QualityRow): MonthQuality {
  return { month, labelled: Number(labelled), auc: auc === null ? null : Number(auc), accuracy }
}
