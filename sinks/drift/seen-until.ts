import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../schemas/clickhouse/sql-text.ts'

/** Answers the largest event time of the pipeline's predictions, epoch ms; null before the first. Looks only at what is later than it knows. */
export function createSeenUntil(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  pipeline: string,
): () => Promise<number | null> {
  let known: number | null = null
  return async () => {
    const later = known === null ? '' : ` AND event_time > fromUnixTimestamp64Milli(toInt64(${known}), 'UTC')`
    const [row] = await clickhouse.rows<{ at: number | null }>(
      `SELECT if(count() = 0, NULL, toFloat64(toUnixTimestamp64Milli(max(event_time)))) AS at FROM predictions
       WHERE pipeline = ${sqlText(pipeline)}${later}`,
    )
    known = row?.at ?? known
    return known
  }
}
