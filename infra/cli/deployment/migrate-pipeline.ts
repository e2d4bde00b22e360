import type { Analyst } from '../../../schemas/clickhouse/analyst.ts'
import type { Retention } from '../../../schemas/clickhouse/retention.ts'
import type { Connections } from '../../runtime/config.ts'
import { loadStageModule } from '../stage-module.ts'

interface MigrateOptions {
  readonly cluster: string | null
  readonly keep: readonly Retention[]
  readonly analyst: Analyst | null
}

interface Migrated {
  readonly applied: readonly string[]
  readonly views: readonly string[]
  readonly kept: readonly string[]
}

/** As sinks/commands/migrate.ts exports it. */
interface MigrateModule {
  migratePipeline(folder: string, settings: Connections, options?: MigrateOptions): Promise<Migrated>
  migrationStatements(folder: string, database: string, options: MigrateOptions): Promise<readonly string[]>
}

const load = () => loadStageModule<MigrateModule>('sinks/commands/migrate')

/** Applies the DDL and makes the views of the pipeline's current features. */
export async function migratePipeline(
  folder: string,
  settings: Connections,
  options?: MigrateOptions,
): Promise<Migrated> {
  const { migratePipeline: run } = await load()
  return options === undefined ? await run(folder, settings) : await run(folder, settings, options)
}

/** The same as SQL to be looked at, or to be run by somebody else. */
export async function migrationScript(folder: string, settings: Connections, options: MigrateOptions): Promise<string> {
  const { migrationStatements: list } = await load()
  const statements = await list(folder, settings.clickhouseDatabase, options)
  return statements.map((sql) => `${sql};\n`).join('\n')
}
