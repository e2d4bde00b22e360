import {
  type ClickHouseClient,
  type ClickHouseConfig,
  createClickHouse,
} from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { type Connections, clickHouseConfig } from '../../infra/runtime/config.ts'
import { MillraceError } from '../../infra/runtime/errors.ts'
import { driftViews } from '../../schemas/clickhouse/drift-views.ts'
import { migrate, readMigrations } from '../../schemas/clickhouse/migrate.ts'
import { pipelineViews } from '../../schemas/clickhouse/pipeline-views.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { listModelVersions, readModelManifest } from '../../schemas/pipeline/manifest.ts'

/** An ALTER of a large table may take long. */
const STATEMENT_TIMEOUT_MS = 300_000

/**
 * Makes the database if there is none, applies the DDL that is new, and makes the pipeline's views anew.
 * Resolves with the files that were applied now and the names of the views. Safe to repeat. Rejects with
 * PipelineError, MigrationError or what the client rejects with.
 */
export async function migratePipeline(
  folder: string,
  connections: Connections,
): Promise<{ readonly applied: readonly string[]; readonly views: readonly string[] }> {
  const pipeline = await loadPipeline(folder)
  const config = clickHouseConfig(connections, STATEMENT_TIMEOUT_MS)
  await ensureDatabase(config)
  const clickhouse = createClickHouse(config)
  try {
    const applied = await migrate(clickhouse, readMigrations(), Date.now)
    return { applied, views: await makeViews(clickhouse, pipeline) }
  } finally {
    await clickhouse.close()
  }
}

async function makeViews(clickhouse: ClickHouseClient, pipeline: CompiledPipeline): Promise<readonly string[]> {
  const manifests = listModelVersions(pipeline.model.directory).map(readModelManifest)
  const views = [
    ...pipelineViews({
      name: pipeline.name,
      featureSet: pipeline.featureSet,
      knownFeatureSets: manifests.map(({ featureSet }) => featureSet),
    }),
    ...driftViews(pipeline),
  ]
  for (const { sql } of views) await clickhouse.command(sql)
  return views.map(({ name }) => name)
}

/** A user without the right to make databases is fine when there is one. */
async function ensureDatabase(config: ClickHouseConfig): Promise<void> {
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
    await server.command(
      `CREATE DATABASE IF NOT EXISTS \`${config.database.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``,
    )
  } finally {
    await server.close()
  }
}
