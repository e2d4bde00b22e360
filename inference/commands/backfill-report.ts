import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { type Difference, differenceOf } from '../backfill/difference.ts'
import { type BackfillRun, findRuns, requireRows } from '../backfill/runs.ts'

const STATEMENT_TIMEOUT_MS = 600_000

export interface BackfillReport {
  readonly run: BackfillRun
  readonly difference: Difference
}

/**
 * A run against what was served. Rejects with `unknown_run` (crash), also when several pipelines have it and none is named, and with
 * `run_expired` (crash).
 */
export async function reportBackfill(
  name: string,
  pipeline: string | null,
  env: NodeJS.ProcessEnv,
): Promise<BackfillReport> {
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), STATEMENT_TIMEOUT_MS))
  try {
    const [run, ...others] = await findRuns(clickhouse, name, pipeline)
    if (run === undefined) throw fatal('unknown_run', `there is no run ${name}`)
    if (others.length > 0) throw fatal('unknown_run', `several pipelines have a run ${name}: say which with --pipeline`)
    await requireRows(clickhouse, run, systemClock.now())
    return { run, difference: await differenceOf(clickhouse, run) }
  } finally {
    await clickhouse.close()
  }
}
