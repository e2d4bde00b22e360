/** Rows of the lookup tables, wherever they are kept. */

export interface TableRow {
  /** When the row became known, epoch ms; null when its time field is empty. */
  readonly time: number | null
  /** In the shape of the table's schema in the pipeline. */
  readonly record: Readonly<Record<string, unknown>>
}

/** Keys asked for, by table. */
export type TableKeys = ReadonlyMap<string, ReadonlySet<string>>

export interface FoundRows {
  /** Null: the table has no such row, or cannot be read and the pipeline goes on without it. */
  row(table: string, key: string): TableRow | null
}

export interface Tables {
  /**
   * All rows that a call's records need. Rejects with a `retry` error while a table cannot be read and the pipeline
   * would rather wait.
   */
  fetch(keys: TableKeys): Promise<FoundRows>
}

/**
 * The row, when it may be used for an event of that time. A row's age is the event's time minus the row's, never the
 * wall clock, so that an event gives the same features whenever it is processed. For the same reason a row that became
 * known after the event counts as missing: a replay would otherwise see the event's own future.
 */
export function usableAt(row: TableRow | null, eventTime: number, maxAgeMs: number): TableRow['record'] | null {
  if (row === null || row.time === null) return null
  const ageMs = eventTime - row.time
  return ageMs >= 0 && ageMs <= maxAgeMs ? row.record : null
}
