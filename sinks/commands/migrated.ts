import { fatal, MillraceError } from '../../infra/runtime/errors.ts'

const NOTHING_THERE: readonly string[] = ['clickhouse_unknown_table', 'clickhouse_unknown_database']

/**
 * Does what needs the tables and views of a pipeline. Rejects with `not_migrated` (crash), which says what to do, when one of them is not
 * there; else as the work does.
 */
export async function onMigrated<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof MillraceError) || !NOTHING_THERE.includes(error.code)) throw error
    const what = `ClickHouse does not have all tables and views of this pipeline: run "millrace migrate ${folder}"`
    throw fatal('not_migrated', `${what} (${error.message})`, error)
  }
}
