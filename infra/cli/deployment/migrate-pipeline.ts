import type { Connections } from '../../runtime/config.ts'
import { loadStageModule } from '../stage-module.ts'

/** As sinks/commands/migrate.ts exports it. */
interface MigrateModule {
  migratePipeline(
    folder: string,
    settings: Connections,
  ): Promise<{ readonly applied: readonly string[]; readonly views: readonly string[] }>
}

/** Applies the DDL and makes the views of the pipeline's current features. */
export async function migratePipeline(
  folder: string,
  settings: Connections,
): Promise<{ readonly applied: readonly string[]; readonly views: readonly string[] }> {
  const { migratePipeline: run } = await loadStageModule<MigrateModule>('sinks/commands/migrate')
  return await run(folder, settings)
}
