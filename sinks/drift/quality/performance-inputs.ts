import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import { offsetsSql, writeProgress } from '../panes/pane-progress.ts'
import { HAS_PANE, paneSql } from '../panes/pane-time.ts'
import { type PanePortion, portionsOfPanes } from '../panes/portions.ts'
import { eventsOfSql } from './events-of.ts'

/** What panes are computed with; others are computed anew for other settings. */
export interface PaneSettings {
  readonly pipeline: string
  readonly paneMs: number
  /** From this score on a prediction is positive. */
  readonly threshold: number
}

interface Lane {
  readonly input: 'predictions' | 'shadow' | 'labels'
  readonly generation: string
  readonly partition: number
}

/** Records [from, to) of a partition that performance panes do not have yet. */
export interface NewRecords extends Lane {
  readonly from: number
  readonly to: number
  /** Stored behind `to`. */
  readonly behind: number
}

type Rows = Pick<ClickHouseClient, 'rows'>

const TABLES = { predictions: 'predictions', shadow: 'shadow_predictions', labels: 'labels' } as const
const INPUTS = ['predictions', 'shadow', 'labels'] as const
/** Panes that are computed together: each has histograms by lag, segment and version, and their predictions meet their labels in memory. */
const PORTION = { maxPanes: 100, maxRows: 500_000 }

const panesName = ({ paneMs, threshold }: PaneSettings): string => `performance/${paneMs / 1_000}/${threshold}`

/** Every partition of every topic that what is stored was read from. Looks at all of it. */
export async function storedLanes(clickhouse: Rows, pipeline: string): Promise<readonly Lane[]> {
  const queries = INPUTS.map(
    (
      input,
    ) => `SELECT DISTINCT '${input}' AS input, toString(kafka_generation) AS generation, kafka_partition AS partition
      FROM ${TABLES[input]} WHERE pipeline = ${sqlText(pipeline)}`,
  )
  return await clickhouse.rows<Lane>(
    `SELECT * FROM (${queries.join(' UNION ALL ')}) ORDER BY input, generation, partition`,
  )
}

/**
 * What was stored of these lanes since the progress that is noted, at most `maxRecords` offsets of each. Sinks store a partition in order, so
 * that all below an offset that is there has ended.
 */
export async function newRecords(
  clickhouse: Rows,
  settings: PaneSettings,
  lanes: readonly Lane[],
  maxRecords: number,
): Promise<readonly NewRecords[]> {
  const pipeline = sqlText(settings.pipeline)
  const noted = await clickhouse.rows<Lane & { readonly next: number }>(
    `SELECT toString(input) AS input, toString(kafka_generation) AS generation, kafka_partition AS partition, toFloat64(max(next_offset)) AS next
     FROM pane_progress WHERE pipeline = ${pipeline} AND panes = ${sqlText(panesName(settings))} GROUP BY input, generation, partition`,
  )
  const progress = new Map(noted.map((lane) => [laneKey(lane), lane.next]))
  const found = await Promise.all(
    INPUTS.map(async (input) => {
      const open = lanes
        .filter((lane) => lane.input === input)
        .map((lane) => ({ ...lane, from: progress.get(laneKey(lane)) ?? 0, to: null }))
      if (open.length === 0) return []
      const stored = await clickhouse.rows<{ generation: string; partition: number; from: number; end: number }>(
        `SELECT toString(kafka_generation) AS generation, kafka_partition AS partition, toFloat64(min(kafka_offset)) AS from,
           toFloat64(max(kafka_offset) + 1) AS end
         FROM ${TABLES[input]} WHERE pipeline = ${pipeline} AND ${offsetsSql(open)}
         GROUP BY generation, partition ORDER BY generation, partition`,
      )
      return stored.map(({ generation, partition, from, end }): NewRecords => {
        const to = Math.min(end, from + maxRecords)
        return { input, generation, partition, from, to, behind: end - to }
      })
    }),
  )
  return found.flat()
}

/**
 * Starts, epoch ms ascending, of the panes of the predictions that these records are, or are about. A record whose event is not known has none:
 * its prediction brings it along when it comes.
 */
export async function touchedPanes(
  clickhouse: Rows,
  { pipeline, paneMs }: PaneSettings,
  records: readonly NewRecords[],
): Promise<readonly number[]> {
  const own = `pipeline = ${sqlText(pipeline)}`
  const queries = INPUTS.flatMap((input) => {
    const ranges = records.filter((each) => each.input === input)
    if (ranges.length === 0) return []
    const rows = `${own} AND ${offsetsSql(ranges)}`
    const count = ranges.reduce((sum, { from, to }) => sum + to - from, 0)
    const about =
      input === 'labels'
        ? `predictions WHERE ${own} AND ${eventsOfSql(`labels WHERE ${rows}`, count)}`
        : `${TABLES[input]} WHERE ${rows}`
    return [`SELECT DISTINCT ${paneSql(paneMs)} AS pane FROM ${about} AND ${HAS_PANE}`]
  })
  if (queries.length === 0) return []
  const rows = await clickhouse.rows<{ pane: number }>(
    `SELECT DISTINCT toFloat64(pane) AS pane FROM (${queries.join(' UNION ALL ')}) ORDER BY pane`,
  )
  return rows.map(({ pane }) => pane)
}

/** The panes in portions of a bearable size. */
export async function portionsOf(
  clickhouse: Rows,
  { pipeline, paneMs }: PaneSettings,
  panes: readonly number[],
): Promise<readonly PanePortion[]> {
  return await portionsOfPanes(clickhouse, { where: `pipeline = ${sqlText(pipeline)}`, paneMs, ...PORTION }, panes)
}

/** To be called once all that the records touch has been computed. */
export async function noteProgress(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  settings: PaneSettings,
  records: readonly NewRecords[],
  computedAt: number,
): Promise<void> {
  await writeProgress(clickhouse, { pipeline: settings.pipeline, panes: panesName(settings) }, records, computedAt)
}

function laneKey({ input, generation, partition }: Lane): string {
  return `${input}/${generation}/${partition}`
}
