import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'

/** Inserts that a table remembers by their tokens. */
const LEAST_WINDOW = 1_000

interface TableRow {
  readonly name: string
  readonly engine: string
  readonly full: string
  readonly ddl: string
  readonly uuid: string
  readonly dependents: readonly string[]
}

/**
 * Without a deduplication window ClickHouse takes every retry as another insert, and says nothing. Looks at the table and at
 * those behind its materialized views. Throws `deduplication_window` (crash) with the statement that mends it, `replicated_table`,
 * `unknown_table` (crash); rejects with what the client rejects with.
 */
export async function checkDeduplicationWindows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  database: string,
  table: string,
): Promise<void> {
  const rows = await clickhouse.rows<TableRow>(
    `SELECT name, engine, engine_full AS full, create_table_query AS ddl, toString(uuid) AS uuid,
       arrayMap((d, t) -> concat(d, '.', t), dependencies_database, dependencies_table) AS dependents
     FROM system.tables WHERE database = {database:String}`,
    { database },
  )
  const tables = new Map(rows.map((row) => [row.name, row]))
  const seen = new Set<string>()
  const todo = [table]
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (seen.has(name)) continue
    seen.add(name)
    const found = tables.get(name)
    if (found === undefined) {
      throw fatal('unknown_table', `${database}.${name} does not exist; "millrace migrate" makes the tables`)
    }
    requireOneReplica(database, found)
    checkWindow(database, found)
    for (const dependent of found.dependents) {
      if (!dependent.startsWith(`${database}.`)) continue
      const view = tables.get(dependent.slice(database.length + 1))
      if (view?.engine === 'MaterializedView') todo.push(...targetsOf(view, [...tables.keys()]))
    }
  }
}

/** A replica that lags behind does not have all rows, and what is missing there would be stored again. */
function requireOneReplica(database: string, { name, engine }: TableRow): void {
  if (!engine.startsWith('Replicated')) return
  throw fatal(
    'replicated_table',
    `${database}.${name} is a ${engine}: rows are stored exactly once only in tables that are not replicated`,
  )
}

function checkWindow(database: string, { name, engine, full }: TableRow): void {
  if (!engine.endsWith('MergeTree')) return
  const setting = /^Shared/.test(engine) ? 'replicated_deduplication_window' : 'non_replicated_deduplication_window'
  const text = new RegExp(`\\b(?<!non_)${setting} = (\\d+)`).exec(full)?.[1]
  // a shared table has a window of 10,000 when nothing is said, any other has none
  const window = text === undefined ? (setting.startsWith('non_') ? 0 : LEAST_WINDOW) : Number(text)
  if (window >= LEAST_WINDOW) return
  throw fatal(
    'deduplication_window',
    `${database}.${name} remembers the tokens of ${window} inserts, at least ${LEAST_WINDOW} are needed: ` +
      `ALTER TABLE ${database}.${name} MODIFY SETTING ${setting} = 10000`,
  )
}

/** Where a materialized view writes: the table behind TO, or one of its own; where that cannot be told, all of that kind. */
function targetsOf({ name, ddl, uuid }: TableRow, tables: readonly string[]): readonly string[] {
  const head = ddl.includes(' AS SELECT') ? ddl.slice(0, ddl.indexOf(' AS SELECT')) : ddl
  const named = /\bTO (?:`?\w+`?\.)?`?([^\s`(]+)`?/.exec(head)?.[1]
  if (named !== undefined) return [named]
  const own = [`.inner_id.${uuid}`, `.inner.${name}`].filter((each) => tables.includes(each))
  return own.length > 0 ? own : tables.filter((each) => each.startsWith('.inner'))
}
