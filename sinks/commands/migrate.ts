import {
  type ClickHouseClient,
  type ClickHouseConfig,
  createClickHouse,
} from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { type Connections, clickHouseConfig } from '../../infra/runtime/config.ts'
import { MillraceError } from '../../infra/runtime/errors.ts'
import { type Analyst, analystStatements } from '../../schemas/clickhouse/analyst.ts'
import { onCluster } from '../../schemas/clickhouse/cluster.ts'
import { driftViews } from '../../schemas/clickhouse/drift-views.ts'
import { HISTORY, migrate, readMigrations } from '../../schemas/clickhouse/migrate.ts'
import { pipelineViews } from '../../schemas/clickhouse/pipeline-views.ts'
import { type Retention, readKeptDays, retentionStatements } from '../../schemas/clickhouse/retention.ts'
import { sqlName } from '../../schemas/clickhouse/sql-text.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { listModelVersions, readModelManifest } from '../../schemas/pipeline/manifest.ts'

/** An ALTER of a large table may take long. */
const STATEMENT_TIMEOUT_MS = 300_000

export interface MigrateOptions {
  /** Name of the replicated cluster; null = a single server. */
  readonly cluster: string | null
  /** Tables that are not named stay as they are. */
  readonly keep: readonly Retention[]
  /** A user to be made, or made anew. */
  readonly analyst: Analyst | null
}

const PLAIN: MigrateOptions = { cluster: null, keep: [], analyst: null }

export interface Migrated {
  readonly applied: readonly string[]
  readonly views: readonly string[]
  /** Tables whose rows are kept for another time than before. */
  readonly kept: readonly string[]
}

/**
 * Makes the database if there is none, applies the DDL that is new, and makes the pipeline's views anew; then what the options ask
 * for. Resolves with the files that were applied now and the names of the views. Safe to repeat. Rejects with
 * PipelineError, MigrationError or what the client rejects with.
 */
export async function migratePipeline(
  folder: string,
  connections: Connections,
  options: MigrateOptions = PLAIN,
): Promise<Migrated> {
  const { cluster, keep, analyst } = options
  const pipeline = await loadPipeline(folder)
  const config = clickHouseConfig(connections, STATEMENT_TIMEOUT_MS)
  const dialect = dialectOf(cluster)
  const migrations = readMigrations()
  await ensureDatabase(config, dialect)
  const clickhouse = createClickHouse(config)
  try {
    const applied = await migrate(clickhouse, migrations, Date.now, dialect)
    const views = viewsOf(pipeline)
    for (const { sql } of views.all) await clickhouse.command(dialect(sql))
    const kept = await retain(clickhouse, keep, dialect)
    if (analyst !== null) {
      const scope = { database: config.database, migrations, views: views.ofTenants, cluster }
      for (const sql of analystStatements(analyst, scope)) await clickhouse.command(sql)
    }
    return { applied, views: views.all.map(({ name }) => name), kept }
  } finally {
    await clickhouse.close()
  }
}

/** What `migratePipeline` would run on an empty server. */
export async function migrationStatements(
  folder: string,
  database: string,
  options: MigrateOptions,
): Promise<readonly string[]> {
  const { cluster, keep, analyst } = options
  const dialect = dialectOf(cluster)
  const migrations = readMigrations()
  const views = viewsOf(await loadPipeline(folder))
  const scope = { database, migrations, views: views.ofTenants, cluster }
  return [
    dialect(databaseStatement(database)),
    `USE ${sqlName(database)}`,
    ...[HISTORY, ...migrations.map(({ sql }) => sql), ...views.all.map(({ sql }) => sql)].map((sql) =>
      dialect(sql.trim()),
    ),
    ...keep.flatMap((retention) => retentionStatements(retention, undefined)).map(dialect),
    ...(analyst === null ? [] : analystStatements(analyst, scope)),
  ]
}

function dialectOf(cluster: string | null): (sql: string) => string {
  return cluster === null ? (sql) => sql : (sql) => onCluster(sql, cluster)
}

async function retain(
  clickhouse: ClickHouseClient,
  keep: readonly Retention[],
  dialect: (sql: string) => string,
): Promise<readonly string[]> {
  const kept: string[] = []
  for (const retention of keep) {
    const statements = retentionStatements(retention, await readKeptDays(clickhouse, retention.table))
    for (const sql of statements) await clickhouse.command(dialect(sql))
    if (statements.length > 0) kept.push(retention.table)
  }
  return kept
}

interface View {
  readonly name: string
  readonly sql: string
}

/** `ofTenants` = those of tables that have a tenant, where a tenant's analyst sees the tenant's rows. */
function viewsOf(pipeline: CompiledPipeline): { readonly all: readonly View[]; readonly ofTenants: readonly string[] } {
  const manifests = listModelVersions(pipeline.model.directory).map(readModelManifest)
  const ofTenants = pipelineViews({
    name: pipeline.name,
    featureSet: pipeline.featureSet,
    knownFeatureSets: manifests.map(({ featureSet }) => featureSet),
  })
  return { all: [...ofTenants, ...driftViews(pipeline)], ofTenants: ofTenants.map(({ name }) => name) }
}

const databaseStatement = (database: string): string => `CREATE DATABASE IF NOT EXISTS ${sqlName(database)}`

/** A user without the right to make databases is fine when there is one. */
async function ensureDatabase(config: ClickHouseConfig, dialect: (sql: string) => string): Promise<void> {
  const own = createClickHouse(config)
  try {
    await own.ping()
    return
  } catch (error) {
    if (!(error instanceof MillraceError) || error.code !== 'clickhouse_unknown_database') throw error
  } finally {
    await own.close()
  }
  const server = createClickHouse({ ...config, database: 'default' })
  try {
    await server.command(dialect(databaseStatement(config.database)))
  } finally {
    await server.close()
  }
}
