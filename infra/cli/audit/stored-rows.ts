import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'

/** Rows of one table that come from one partition of a topic, offsets [from, to). */
export interface StoredRange {
  readonly table: 'predictions' | 'labels'
  readonly pipeline: string
  /** Topic id. */
  readonly generation: string
  readonly partition: number
  readonly from: number
  readonly to: number
}

export interface StoredRun {
  readonly first: number
  readonly last: number
}

export interface Copies {
  /** Rows beyond one per record before the table's own deduplication. */
  readonly physical: number
  /** The same with FINAL. */
  readonly final: number
}

/** Offsets in one query: bounds what ClickHouse sorts, and memory. */
const WINDOW = 4_000_000

/** Offsets that have a row, as runs without a gap, ascending; and how many rows there are too many. */
export async function readStored(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  range: StoredRange,
  onRun: (run: StoredRun) => void,
): Promise<Copies> {
  const copies = { physical: 0, final: 0 }
  for (let from = range.from; from < range.to; from += WINDOW) {
    const window = { ...range, from, to: Math.min(range.to, from + WINDOW) }
    copies.physical += await readRuns(clickhouse, window, onRun)
    // a label has one row per event, whichever record it comes from
    if (range.table === 'predictions') copies.final += await copiesOf(clickhouse, window)
  }
  return copies
}

const WHERE = `pipeline = {pipeline:String} AND kafka_generation = {generation:String}
  AND kafka_partition = {partition:Int32} AND kafka_offset >= {from:UInt64} AND kafka_offset < {to:UInt64}`

async function readRuns(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  { table, ...parameters }: StoredRange,
  onRun: (run: StoredRun) => void,
): Promise<number> {
  const runs = await clickhouse.rows<Record<'first' | 'last' | 'copies', string>>(
    `SELECT min(at) AS first, max(at) AS last, toInt64(sum(rows)) - count() AS copies FROM (
       SELECT at, rows, at - row_number() OVER (ORDER BY at) AS run
       FROM (SELECT toInt64(kafka_offset) AS at, count() AS rows FROM ${table} WHERE ${WHERE} GROUP BY at)
     ) GROUP BY run ORDER BY first`,
    parameters,
  )
  let copies = 0
  for (const run of runs) {
    onRun({ first: Number(run.first), last: Number(run.last) })
    copies += Number(run.copies)
  }
  return copies
}

async function copiesOf(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  { table, ...parameters }: StoredRange,
): Promise<number> {
  const [row] = await clickhouse.rows<{ copies: string }>(
    `SELECT toInt64(count()) - toInt64(uniqExact(kafka_offset)) AS copies FROM ${table} FINAL WHERE ${WHERE}
     SETTINGS use_skip_indexes_if_final = 1`,
    parameters,
  )
  return Number(row?.copies ?? 0)
}
