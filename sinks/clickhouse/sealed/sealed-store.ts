import { randomUUID } from 'node:crypto'
import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import type { RowKind } from '../stored-row.ts'

/** What of the rows of a partition is to be looked for. */
export interface StoredRange {
  readonly generation: string
  readonly partition: number
  /** Offsets [a, b). */
  readonly a: number
  readonly b: number
  /** Bounds of the column that the table is partitioned by, where they are known. */
  readonly times: { readonly from: number; readonly to: number } | null
}

/** One table, as the sealed-batch protocol uses it. All may reject with what the client rejects with. */
export interface SealedStore {
  readonly table: string
  /** The body of a chunk, or a part of it: all or none. `lane` begins the query's id, so that `endInserts` finds it. */
  insert(body: Buffer, name: { readonly lane: string; readonly token: string }): Promise<void>
  /** Ends every insert of the lane that the server still works on; resolves when none is left. */
  endInserts(lane: string): Promise<void>
  /** How often each offset is stored, physically; those that are not there are absent. */
  stored(range: StoredRange): Promise<ReadonlyMap<number, number>>
  /** Behind the last row of the partition; 0 when there is none. */
  storedBelow(generation: string, partition: number): Promise<number>
}

export function createSealedStore(
  clickhouse: Pick<ClickHouseClient, 'insertBody' | 'command' | 'rows'>,
  database: string,
  kind: Pick<RowKind<never>, 'table' | 'types' | 'partitionBy' | 'constants'>,
): SealedStore {
  const { table, types, partitionBy } = kind
  const columns = Object.keys(types)
  const format = kind.constants === undefined ? 'JSONEachRow' : 'Native'
  // another database may hold a table of the same name, fed from the same topic
  const queryPrefix = (lane: string): string => `${database}/${lane}/`
  return {
    table,
    insert: (body, { lane, token }) =>
      clickhouse.insertBody(table, columns, body, {
        token,
        queryId: `${queryPrefix(lane)}${token}#${randomUUID()}`,
        format,
      }),

    endInserts: (lane) =>
      clickhouse.command(`KILL QUERY WHERE startsWith(query_id, ${sqlText(queryPrefix(lane))}) SYNC`),

    async stored({ generation, partition, a, b, times }) {
      const bounds =
        times === null || partitionBy === null
          ? ''
          : `AND ${partitionBy.column} >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
             AND ${partitionBy.column} <= fromUnixTimestamp64Milli({to:Int64}, 'UTC')`
      const rows = await clickhouse.rows<{ at: string; copies: string }>(
        `SELECT kafka_offset AS at, count() AS copies FROM ${table}
         WHERE kafka_generation = {generation:String} AND kafka_partition = {partition:Int32}
           AND kafka_offset >= {a:UInt64} AND kafka_offset < {b:UInt64} ${bounds}
         GROUP BY at SETTINGS select_sequential_consistency = 1`,
        { generation, partition, a, b, ...(times ?? {}) },
      )
      return new Map(rows.map(({ at, copies }) => [Number(at), Number(copies)]))
    },

    async storedBelow(generation, partition) {
      const [row] = await clickhouse.rows<{ below: string }>(
        `SELECT if(count() = 0, 0, max(kafka_offset) + 1) AS below FROM ${table}
         WHERE kafka_generation = {generation:String} AND kafka_partition = {partition:Int32}
         SETTINGS select_sequential_consistency = 1`,
        { generation, partition },
      )
      return Number(row?.below ?? 0)
    },
  }
}
