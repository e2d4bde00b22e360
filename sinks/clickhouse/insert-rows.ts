import { randomUUID } from 'node:crypto'
import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fateOf } from '../../infra/runtime/errors.ts'
import type { Row } from './stored-row.ts'

export interface RowInserter {
  /**
   * Inserts every row that the server takes, in one request unless it refuses some: then by halves, until those are
   * alone. Resolves with the reason for each refused row, by its index, once all others are answered for.
   * Rejects with what the client rejects with; part of the rows may be stored then, so insert all of them again.
   */
  insert(rows: readonly Row[]): Promise<ReadonlyMap<number, string>>
}

export interface InsertTarget {
  readonly table: string
  readonly types: Readonly<Record<string, unknown>>
}

/**
 * Each request stands for itself, without a deduplication token: the server answers "stored" to a retry whose token it
 * has seen even when it was killed before the rows of the first attempt were there. A row that lands twice instead
 * collapses under FINAL.
 */
export function createRowInserter(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  { table, types }: InsertTarget,
): RowInserter {
  const columns = Object.keys(types)
  async function insertOrSplit(rows: readonly Row[], from: number, refused: Map<number, string>): Promise<void> {
    try {
      await clickhouse.insert(table, columns, rows, { queryId: `${table}-${randomUUID()}` })
    } catch (error) {
      if (fateOf(error) !== 'reject') throw error
      if (rows.length === 1) {
        refused.set(from, (error as Error).message)
        return
      }
      const half = Math.ceil(rows.length / 2)
      await insertOrSplit(rows.slice(0, half), from, refused)
      await insertOrSplit(rows.slice(half), from + half, refused)
    }
  }

  return {
    async insert(rows) {
      const refused = new Map<number, string>()
      if (rows.length > 0) await insertOrSplit(rows, 0, refused)
      return refused
    },
  }
}
