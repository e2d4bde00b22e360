import { createWriteStream } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { digestOfFile } from '../../schemas/file-digest.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { parquetRows } from '../drift/export/parquet-rows.ts'
import {
  featureColumns,
  otherFeatureSetsSql,
  type TrainingWindow,
  trainingSql,
} from '../drift/export/training-query.ts'
import { onMigrated } from './migrated.ts'

export interface ExportOptions extends TrainingWindow {
  readonly folder: string
  /** Parquet file; what is known of it is written beside it, as `<out>.json`. */
  readonly out: string
}

/** What stands beside the file. */
export interface ExportManifest {
  readonly pipeline: string
  readonly from: string
  readonly to: string
  readonly knownAt: string
  readonly labelled: boolean
  readonly rows: number
  readonly bytes: number
  readonly sha256: string
  readonly featureSet: string
  /** In the order in which a model sees them; `column` is the file's. `values`: what the numbers of a category mean, from 0. */
  readonly features: readonly { readonly name: string; readonly column: string; readonly values?: readonly string[] }[]
  /** Rows of the window that are left out, because they have other features. */
  readonly rowsOfOtherFeatures: number
  readonly modelVersions: readonly string[]
  readonly query: string
  readonly clickhouse: string
}

/** An export may take long. */
const STATEMENT_TIMEOUT_MS = 3_600_000

/** One thread, and row groups by rows alone: the same rows make the same bytes, however they are stored. */
const SETTINGS = {
  max_threads: 1,
  output_format_parquet_row_group_size: '100000',
  output_format_parquet_row_group_size_bytes: '1099511627776',
  output_format_parquet_parallel_encoding: 0,
  output_format_parquet_compression_method: 'zstd',
} as const

/**
 * Writes a training set, and what it is beside it; whatever was there before is replaced when all of it is written. Rejects with
 * `invalid_option` (crash), PipelineError and as `onMigrated` and ClickHouse do.
 */
export async function exportTrainingSet(options: ExportOptions, env: NodeJS.ProcessEnv): Promise<ExportManifest> {
  if (options.from >= options.to) throw fatal('invalid_option', '--to must be later than --from')
  const pipeline = await loadPipeline(options.folder)
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), STATEMENT_TIMEOUT_MS))
  const partial = `${options.out}.part`
  try {
    const query = trainingSql(pipeline, options)
    const manifest = await onMigrated(options.folder, async () => {
      await clickhouse.queryFile(query, 'Parquet', createWriteStream(partial), SETTINGS)
      return await describe(clickhouse, pipeline, options, partial, query)
    })
    await rename(partial, options.out)
    await writeFile(`${options.out}.json`, `${JSON.stringify(manifest, null, 2)}\n`)
    return manifest
  } finally {
    await rm(partial, { force: true })
    await clickhouse.close()
  }
}

async function describe(
  clickhouse: ClickHouseClient,
  pipeline: CompiledPipeline,
  window: TrainingWindow,
  file: string,
  query: string,
): Promise<ExportManifest> {
  const { sha256, size } = await digestOfFile(file)
  const [others] = await clickhouse.rows<{ rows: number }>(otherFeatureSetsSql(pipeline, window))
  const versions = await clickhouse.rows<{ model_version: string }>(
    `SELECT DISTINCT model_version FROM (${query}) ORDER BY model_version`,
  )
  const [server] = await clickhouse.rows<{ version: string }>('SELECT version() AS version')
  const columns = featureColumns(pipeline)
  return {
    pipeline: pipeline.name,
    from: isoTime(window.from),
    to: isoTime(window.to),
    knownAt: isoTime(window.knownAt),
    labelled: window.labelled,
    rows: await parquetRows(file),
    bytes: size,
    sha256,
    featureSet: pipeline.featureSet.digest,
    features: pipeline.features.map((feature, index) => ({
      name: feature.name,
      column: columns[index] ?? feature.name,
      ...(feature.kind === 'category' ? { values: feature.values } : {}),
    })),
    rowsOfOtherFeatures: others?.rows ?? 0,
    modelVersions: versions.map(({ model_version }) => model_version),
    query,
    clickhouse: server?.version ?? '',
  }
}

function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
