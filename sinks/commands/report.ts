import { writeFile } from 'node:fs/promises'
import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import { viewPrefix } from '../../schemas/clickhouse/pipeline-views.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { reportPage } from '../drift/report/page.ts'
import { readReport } from '../drift/report/read-report.ts'
import { createSeenUntil } from '../drift/seen-until.ts'
import { onMigrated } from './migrated.ts'

export interface ReportOptions {
  readonly folder: string
  readonly windowMs: number
  /** Event time, epoch ms; null = behind the last event that was predicted. */
  readonly to: number | null
  readonly out: string
  /** Epoch ms. */
  readonly now: number
}

const STATEMENT_TIMEOUT_MS = 300_000

/** Writes the report of a window; answers what it is of. Rejects with PipelineError, and as `onMigrated`, ClickHouse and the file system do. */
export async function writeReport(
  options: ReportOptions,
  env: NodeJS.ProcessEnv,
): Promise<{
  readonly from: number
  readonly to: number
  readonly predictions: number
  readonly profile: string | null
}> {
  const pipeline = await loadPipeline(options.folder)
  const { paneMs, windowMs } = pipeline.monitor
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), STATEMENT_TIMEOUT_MS))
  try {
    const { from, to, data } = await onMigrated(options.folder, async () => {
      const seen = options.to ?? (await createSeenUntil(clickhouse, pipeline.name)()) ?? options.now
      const to = Math.ceil((options.to === null ? seen + 1 : seen) / paneMs) * paneMs
      const window = { prefix: viewPrefix(pipeline.name), from: to - options.windowMs, to }
      return { ...window, data: await readReport(clickhouse, window) }
    })
    await writeFile(options.out, reportPage({ pipeline: pipeline.name, windowMs, paneMs, at: options.now }, data))
    const predictions = data.versions.reduce((sum, { n }) => sum + n, 0)
    return { from, to, predictions, profile: data.profile?.profile ?? null }
  } finally {
    await clickhouse.close()
  }
}
