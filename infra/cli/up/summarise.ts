import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { listModelVersions, readModelManifest } from '../../../schemas/pipeline/manifest.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import type { ReplayDone } from '../../sample/replay/progress.ts'
import type { Account, RunMarks } from './accounting.ts'
import { qualityByMonth, qualitySince } from './quality.ts'
import type { RunSummary } from './summary.ts'

/** First day that the pipeline's model has not seen in training; null when its manifest does not say. */
export function unseenFrom(pipeline: CompiledPipeline): string | null {
  for (const folder of listModelVersions(pipeline.model.directory).toReversed()) {
    const { featureSet, training } = readModelManifest(folder)
    if (featureSet.digest === pipeline.featureSet.digest) return training?.to ?? null
  }
  return null
}

export async function summarise(
  pipeline: CompiledPipeline,
  clickhouse: ClickHouseClient,
  run: { readonly account: Account; readonly marks: RunMarks; readonly replay: ReplayDone | null },
): Promise<RunSummary> {
  const since = unseenFrom(pipeline)
  const hasLabel = pipeline.label !== null
  const timing = await timingOf(pipeline, clickhouse, run.marks)
  return {
    account: run.account,
    expectedEvents: run.replay?.events ?? null,
    unlabelled: run.replay === null ? null : run.replay.events - run.replay.labelsExpected,
    months: hasLabel ? await qualityByMonth(pipeline, clickhouse) : [],
    unseenFrom: since,
    unseen: since === null || !hasLabel ? null : await qualitySince(pipeline, clickhouse, Date.parse(since)),
    ...timing,
  }
}

async function timingOf(
  pipeline: CompiledPipeline,
  clickhouse: ClickHouseClient,
  marks: RunMarks,
): Promise<Pick<RunSummary, 'spanMs' | 'latencyMs'>> {
  const lanes = [...marks.events].map(([lane, from]) => `(kafka_partition = ${lane} AND origin_offset >= ${from})`)
  const [row] = await clickhouse.rows<{ rows: string; span: number; p50: number; p99: number }>(
    `SELECT count() AS rows, toFloat64(max(written) - min(ingested)) AS span,
            quantileExact(0.5)(toFloat64(written - ingested)) AS p50, quantileExact(0.99)(toFloat64(written - ingested)) AS p99
     FROM (
       SELECT toUnixTimestamp64Milli(written_at) AS written, toUnixTimestamp64Milli(ingested_at) AS ingested
       FROM predictions FINAL
       WHERE pipeline = {pipeline:String} AND origin_generation = {generation:String} AND (${lanes.join(' OR ')})
     )`,
    { pipeline: pipeline.name, generation: marks.eventsGeneration },
  )
  if (row === undefined || Number(row.rows) === 0) return { spanMs: 0, latencyMs: null }
  return { spanMs: row.span, latencyMs: { p50: row.p50, p99: row.p99 } }
}
