import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'

/** Epoch ms. The one clock by which computations are put in order, whichever process makes them. */
export async function serverTime(clickhouse: Pick<ClickHouseClient, 'rows'>): Promise<number> {
  const [row] = await clickhouse.rows<{ at: number }>('SELECT toFloat64(toUnixTimestamp64Milli(now64(3))) AS at')
  if (row === undefined) throw new RangeError('the server did not say what time it is')
  return row.at
}
