/** Applies the numbered files of this folder, each once, in their order. */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'

/** What the migrator needs of ClickHouse; statements run in the client's own database. */
export interface MigrationTarget {
  /** Resolves when the server has carried the statement out. */
  command(sql: string): Promise<void>
  rows<T>(sql: string): Promise<readonly T[]>
}

export interface Migration {
  readonly number: number
  /** File name. */
  readonly name: string
  /** One statement that may run again without harm: CREATE … IF NOT EXISTS, ALTER … ADD COLUMN IF NOT EXISTS. */
  readonly sql: string
  /** SHA-256 of the file, hex. */
  readonly sha256: string
}

/** A file that was applied is not what it was: a table's history cannot be rewritten, only continued. */
export class MigrationError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MigrationError'
  }
}

const FILE_NAME = /^(\d{4})_[a-z0-9_]+\.sql$/

/** Of what was applied; made before anything else. */
export const HISTORY = `
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number     UInt32,
    name       String,
    sha256     String,
    applied_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (number, name, sha256)
SETTINGS non_replicated_deduplication_window = 100`

export function readMigrations(folder: string = import.meta.dirname): readonly Migration[] {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.sql'))
    .sort()
  return names.map((name, index) => {
    const number = Number(FILE_NAME.exec(name)?.[1])
    if (number !== index + 1) {
      throw new MigrationError(`${name}: migrations are named NNNN_name.sql and numbered from 0001 without a gap`)
    }
    const sql = readFileSync(path.join(folder, name), 'utf8')
    return { number, name, sql, sha256: createHash('sha256').update(sql).digest('hex') }
  })
}

/**
 * Resolves with the names that were applied now; none when the database is up to date. Statements are idempotent and
 * the history keeps every entry, so two migrators at once, or one that was killed between a statement and its entry, do
 * no harm. `dialect` = how this server wants its DDL. Rejects with MigrationError when a file was changed after it was applied,
 * before anything is done.
 */
export async function migrate(
  target: MigrationTarget,
  migrations: readonly Migration[],
  nowMs: () => number,
  dialect: (sql: string) => string = (sql) => sql,
): Promise<readonly string[]> {
  await target.command(dialect(HISTORY))
  const history = await target.rows<{ number: number; name: string; sha256: string }>(
    'SELECT number, name, sha256 FROM schema_migrations FINAL ORDER BY number',
  )
  for (const { number, name, sha256 } of history) {
    const file = migrations.find((migration) => migration.number === number)
    // a newer release may have applied files that this one does not know
    if (file !== undefined && (file.sha256 !== sha256 || file.name !== name)) {
      throw new MigrationError(
        `${file.name} was changed after it was applied${file.name === name ? '' : ` as ${name}`}; restore it and put the change into a new file`,
      )
    }
  }
  const applied = new Set(history.map(({ number }) => number))
  const fresh = migrations.filter(({ number }) => !applied.has(number))
  for (const { number, name, sql, sha256 } of fresh) {
    await target.command(dialect(sql))
    await target.command(
      `INSERT INTO schema_migrations SELECT ${number}, '${name}', '${sha256}', fromUnixTimestamp64Milli(toInt64(${nowMs()}), 'UTC')`,
    )
  }
  return fresh.map(({ name }) => name)
}
