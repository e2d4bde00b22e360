import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../sql-text.ts'

/** What panes are computed with; others are computed anew for other settings. */
export interface PaneSettings {
  readonly pipeline: string
  readonly paneMs: number
  /** From this score on a prediction is positive. */
  readonly threshold: number
}

type PerformanceInput = 'predictions' | 'shadow' | 'labels'

/** Records [from, to) of a partition that performance panes do not have yet. */
export interface NewRecords {
  readonly input: PerformanceInput
  readonly generation: string
  readonly partition: number
  readonly from: number
  readonly to: number
  /** Stored behind `to`. */
  readonly behind: number
}

const panesName = ({ paneMs, threshold }: PaneSettings): string => `performance/${paneMs / 1_000}/${threshold}`

const TABLES = { predictions: 'predictions', shadow: 'shadow_predictions', labels: 'labels' } as const
const INPUTS = ['predictions', 'shadow', 'labels'] as const

/** `DateTime` ends in 2106; what claims to be of another time is in no pane. */
const END_OF_PANES_MS = 2 ** 32 * 1_000

interface Noted {
  readonly generation: string
  readonly partition: number
  readonly next: string
}

/**
 * What was stored since the progress that is noted, at most `maxRecords` offsets of each partition. Sinks store a partition in order, so that
 * all below an offset that is there has ended.
 */
export async function newRecords(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  settings: PaneSettings,
  maxRecords: number,
): Promise<readonly NewRecords[]> {
  const pipeline = sqlText(settings.pipeline)
  const found = await Promise.all(
    INPUTS.map(async (input) => {
      const noted = await clickhouse.rows<Noted>(
        `SELECT kafka_generation AS generation, kafka_partition AS partition, next_offset AS next FROM pane_progress FINAL
         WHERE pipeline = ${pipeline} AND panes = ${sqlText(panesName(settings))} AND input = '${input}'`,
      )
      const known = noted.map(
        ({ generation, partition, next }) =>
          `(kafka_generation = ${sqlText(generation)} AND kafka_partition = ${partition} AND kafka_offset < ${next})`,
      )
      const lanes = await clickhouse.rows<{ generation: string; partition: number; first: string; last: string }>(
        `SELECT kafka_generation AS generation, kafka_partition AS partition, min(kafka_offset) AS first, max(kafka_offset) AS last
         FROM ${TABLES[input]} WHERE pipeline = ${pipeline}${known.length === 0 ? '' : ` AND NOT (${known.join(' OR ')})`}
         GROUP BY generation, partition ORDER BY generation, partition`,
      )
      return lanes.map(({ generation, partition, first, last }): NewRecords => {
        const from = Number(first)
        const end = Number(last) + 1
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
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  options: PaneSettings,
  records: readonly NewRecords[],
): Promise<readonly number[]> {
  const pipeline = sqlText(options.pipeline)
  const pane = paneOf(options.paneMs)
  const queries = INPUTS.flatMap((input) => {
    const own = records.filter((each) => each.input === input)
    if (own.length === 0) return []
    const lanes = own.map(
      ({ generation, partition, from, to }) =>
        `(kafka_generation = ${sqlText(generation)} AND kafka_partition = ${partition} AND kafka_offset >= ${from} AND kafka_offset < ${to})`,
    )
    const rows = `pipeline = ${pipeline} AND (${lanes.join(' OR ')})`
    if (input !== 'labels') return [`SELECT DISTINCT ${pane} AS pane FROM ${TABLES[input]} WHERE ${rows}`]
    return [
      `SELECT DISTINCT ${pane} AS pane FROM predictions
       WHERE pipeline = ${pipeline} AND (tenant, event_id) IN (SELECT tenant, event_id FROM labels WHERE ${rows})`,
    ]
  })
  if (queries.length === 0) return []
  const rows = await clickhouse.rows<{ pane: string }>(
    `SELECT DISTINCT pane FROM (${queries.join(' UNION ALL ')}) WHERE pane >= 0 AND pane < ${END_OF_PANES_MS} ORDER BY pane`,
  )
  return rows.map(({ pane: start }) => Number(start))
}

/** Start of a prediction's pane, epoch ms (Int64). */
export function paneOf(paneMs: number): string {
  return `intDiv(toUnixTimestamp64Milli(event_time), ${paneMs}) * ${paneMs}`
}

/** To be called once all that the records touch has been computed. */
export async function noteProgress(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  settings: PaneSettings,
  records: readonly NewRecords[],
  now: number,
): Promise<void> {
  const rows = records.map(({ input, generation, partition, to }) => ({
    pipeline: settings.pipeline,
    panes: panesName(settings),
    input,
    kafka_generation: generation,
    kafka_partition: partition,
    next_offset: to,
    computed_at: now,
  }))
  const columns = ['pipeline', 'panes', 'input', 'kafka_generation', 'kafka_partition', 'next_offset', 'computed_at']
  if (rows.length > 0) await clickhouse.insert('pane_progress', columns, rows)
}
