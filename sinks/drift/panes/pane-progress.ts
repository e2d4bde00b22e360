import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'

/** Records [from, to) of a partition of the predictions topic. */
export interface OffsetRange {
  readonly generation: string
  readonly partition: number
  readonly from: number
  readonly to: number
}

/** Names in `pane_progress` what has been computed up to where. */
export interface PanesName {
  readonly pipeline: string
  readonly profile: string
  readonly paneMs: number
}

const INPUT = 'predictions'

function progressName({ profile, paneMs }: PanesName): string {
  return `features/${profile}/${paneMs / 1_000}`
}

/** What panes do not have yet, up to what is stored: empty ranges included, so that every partition that is known is there. */
export async function openRanges(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  name: PanesName,
  lanes: readonly Pick<OffsetRange, 'generation' | 'partition'>[],
): Promise<readonly OffsetRange[]> {
  if (lanes.length === 0) return []
  const progress = await readProgress(clickhouse, name)
  const from = (lane: Pick<OffsetRange, 'generation' | 'partition'>): number => progress.get(laneKey(lane)) ?? 0
  // sinks store a partition in order: below an offset that is there, all is stored
  const ends = await clickhouse.rows<{ generation: string; partition: number; to: number }>(
    `SELECT kafka_generation AS generation, kafka_partition AS partition, toFloat64(max(kafka_offset) + 1) AS to FROM predictions
     WHERE pipeline = ${sqlText(name.pipeline)} AND ${offsetsSql(lanes.map((lane) => ({ ...lane, from: from(lane), to: null })))}
     GROUP BY generation, partition`,
  )
  const stored = new Map(ends.map((end) => [laneKey(end), end.to]))
  return lanes.map(({ generation, partition }) => {
    const next = from({ generation, partition })
    return { generation, partition, from: next, to: stored.get(laneKey({ generation, partition })) ?? next }
  })
}

/** Every partition of every topic that the pipeline's predictions were ever read from. Looks at all of them. */
export async function storedLanes(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  pipeline: string,
): Promise<readonly Pick<OffsetRange, 'generation' | 'partition'>[]> {
  return await clickhouse.rows(
    `SELECT DISTINCT kafka_generation AS generation, kafka_partition AS partition FROM predictions
     WHERE pipeline = ${sqlText(pipeline)} ORDER BY generation, partition`,
  )
}

/** Next offset by lane. */
async function readProgress(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  name: PanesName,
): Promise<ReadonlyMap<string, number>> {
  const rows = await clickhouse.rows<{ generation: string; partition: number; next: number }>(
    `SELECT kafka_generation AS generation, kafka_partition AS partition, toFloat64(max(next_offset)) AS next FROM pane_progress
     WHERE pipeline = ${sqlText(name.pipeline)} AND panes = ${sqlText(progressName(name))} AND input = '${INPUT}'
     GROUP BY generation, partition`,
  )
  return new Map(rows.map((row) => [laneKey(row), row.next]))
}

/** To be called once the panes of all these records are there. */
export async function noteProgress(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  name: PanesName,
  ranges: readonly OffsetRange[],
  computedAt: number,
): Promise<void> {
  const records = ranges.map((range) => ({ ...range, input: INPUT }))
  await writeProgress(clickhouse, { pipeline: name.pipeline, panes: progressName(name) }, records, computedAt)
}

/** Of any panes: what they have of each partition of their inputs, up to `to`. */
export async function writeProgress(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  of: { readonly pipeline: string; readonly panes: string },
  records: readonly (Pick<OffsetRange, 'generation' | 'partition' | 'to'> & { readonly input: string })[],
  computedAt: number,
): Promise<void> {
  const rows = records.map(({ input, generation, partition, to }) => ({
    ...of,
    input,
    kafka_generation: generation,
    kafka_partition: partition,
    next_offset: to,
    computed_at: computedAt,
  }))
  const columns = ['pipeline', 'panes', 'input', 'kafka_generation', 'kafka_partition', 'next_offset', 'computed_at']
  if (rows.length > 0) await clickhouse.insert('pane_progress', columns, rows)
}

/** True for records in one of the ranges; `to` null = without an end. */
export function offsetsSql(ranges: readonly (Omit<OffsetRange, 'to'> & { readonly to: number | null })[]): string {
  const lanes = ranges.map(({ generation, partition, from, to }) => {
    const below = to === null ? '' : ` AND kafka_offset < ${to}`
    return `(kafka_generation = ${sqlText(generation)} AND kafka_partition = ${partition} AND kafka_offset >= ${from}${below})`
  })
  return `(${lanes.join(' OR ')})`
}

function laneKey({ generation, partition }: Pick<OffsetRange, 'generation' | 'partition'>): string {
  return `${generation}/${partition}`
}
