import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { IS_LABEL } from '../../schemas/clickhouse/label-kinds.ts'
import { parametersOf, SERVED } from './history.ts'
import type { BackfillRun } from './runs.ts'

const QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99] as const

/** A run against what was served for the same events; means and quantiles are NaN without rows. */
export interface Difference {
  /** Events of the run, and those of them that the version gave no answer for. */
  readonly rows: number
  readonly problems: number
  /** Events with an answer of the version and one that was served: what all the rest is of. */
  readonly compared: number
  /** By the version that served them. */
  readonly served: readonly { readonly version: string; readonly rows: number }[]
  readonly meanServed: number
  readonly meanBackfill: number
  /** Of the version's score less the one that was served. */
  readonly mean: number
  readonly meanAbsolute: number
  readonly quantiles: readonly { readonly at: number; readonly value: number }[]
  /** Share whose score differs by more than 0.1. */
  readonly shareLarge: number
  /** At the run's threshold: negative before and positive now, and the other way round. */
  readonly flipsUp: number
  readonly flipsDown: number
  /** Where the events' labels are known; null where none is. */
  readonly quality: Quality | null
}

/** By the kind of label, of what was served and of the version, on the same events. Null where it is not defined. */
export interface Quality {
  readonly metric: 'AUC' | 'accuracy' | 'MAE'
  readonly labels: number
  readonly served: number | null
  readonly backfill: number | null
}

type Client = Pick<ClickHouseClient, 'rows'>

const SETTINGS = 'SETTINGS do_not_merge_across_partitions_select_final = 1'
const SCORED = `SELECT tenant, event_id, origin_generation, kafka_partition, origin_offset, score, toString(ifNull(label, '')) AS class
    FROM backfill_predictions FINAL WHERE pipeline = {pipeline:String} AND run = {run:String} AND problem = ''`
const PAIRS = `(
    SELECT b.tenant AS tenant, b.event_id AS event_id, toFloat64(p.score) AS served, toFloat64(b.score) AS backfill,
      p.class AS served_class, b.class AS backfill_class, p.version AS version
    FROM (${SCORED}) AS b
    INNER JOIN
    (
        SELECT origin_generation, kafka_partition, origin_offset, score, toString(ifNull(label, '')) AS class, toString(model_version) AS version
        FROM predictions FINAL WHERE ${SERVED}
    ) AS p ON b.origin_generation = p.origin_generation AND b.kafka_partition = p.kafka_partition AND b.origin_offset = p.origin_offset
)`
const LABELLED = `(
    SELECT served, backfill, served_class, backfill_class, kind, value, class FROM ${PAIRS} AS x
    INNER JOIN
    (
        SELECT tenant, event_id, toString(kind) AS kind, value, toString(class) AS class FROM labels FINAL
        WHERE pipeline = {pipeline:String} AND ${IS_LABEL}
    ) AS l ON x.tenant = l.tenant AND x.event_id = l.event_id
)`

export async function differenceOf(client: Client, run: BackfillRun): Promise<Difference> {
  const parameters = { ...parametersOf(run), run: run.run, threshold: run.threshold }
  const [counts] = await client.rows<{ readonly rows: string; readonly problems: string }>(
    `SELECT count() AS rows, countIf(problem != '') AS problems FROM backfill_predictions FINAL
WHERE pipeline = {pipeline:String} AND run = {run:String}`,
    parameters,
  )
  const [all] = await client.rows<
    Record<keyof typeof SUMS, number | string> & { readonly quantiles: readonly number[] }
  >(
    `SELECT ${Object.entries(SUMS)
      .map(([name, sql]) => `toFloat64(${sql}) AS ${name}`)
      .join(',\n  ')},
  quantilesExact(${QUANTILES.join(', ')})(backfill - served) AS quantiles
FROM ${PAIRS} ${SETTINGS}`,
    parameters,
  )
  const served = await client.rows<{ readonly version: string; readonly rows: string }>(
    `SELECT version, count() AS rows FROM ${PAIRS} GROUP BY version ORDER BY version ${SETTINGS}`,
    parameters,
  )
  return {
    rows: Number(counts?.rows ?? 0),
    problems: Number(counts?.problems ?? 0),
    ...(Object.fromEntries(Object.keys(SUMS).map((name) => [name, Number(all?.[name as keyof typeof SUMS])])) as Record<
      keyof typeof SUMS,
      number
    >),
    quantiles: QUANTILES.map((at, index) => ({ at, value: Number(all?.quantiles[index]) })),
    served: served.map(({ version, rows }) => ({ version, rows: Number(rows) })),
    quality: await qualityOf(client, parameters),
  }
}

const SUMS = {
  compared: 'count()',
  meanServed: 'avg(served)',
  meanBackfill: 'avg(backfill)',
  mean: 'avg(backfill - served)',
  meanAbsolute: 'avg(abs(backfill - served))',
  shareLarge: 'avg(abs(backfill - served) > 0.1)',
  flipsUp: 'countIf(served < {threshold:Float64} AND backfill >= {threshold:Float64})',
  flipsDown: 'countIf(served >= {threshold:Float64} AND backfill < {threshold:Float64})',
} as const

async function qualityOf(client: Client, parameters: Readonly<Record<string, unknown>>): Promise<Quality | null> {
  const [kind] = await client.rows<{ readonly kind: string; readonly labels: string }>(
    `SELECT kind, count() AS labels FROM ${LABELLED} GROUP BY kind ORDER BY labels DESC LIMIT 1 ${SETTINGS}`,
    parameters,
  )
  if (kind === undefined) return null
  const labels = Number(kind.labels)
  if (kind.kind === 'boolean') {
    const [served, backfill] = [await aucOf(client, 'served', parameters), await aucOf(client, 'backfill', parameters)]
    return { metric: 'AUC', labels, served, backfill }
  }
  const isNumber = kind.kind === 'number'
  const of = (who: string): string => (isNumber ? `avg(abs(${who} - value))` : `avg(${who}_class = class)`)
  const [row] = await client.rows<Record<'served' | 'backfill', number>>(
    `SELECT ${of('served')} AS served, ${of('backfill')} AS backfill
FROM (SELECT * FROM ${LABELLED} WHERE kind = {kind:String}) ${SETTINGS}`,
    { ...parameters, kind: kind.kind },
  )
  return { metric: isNumber ? 'MAE' : 'accuracy', labels, served: row?.served ?? null, backfill: row?.backfill ?? null }
}

/** Mann-Whitney with ties as halves, exact; null while all labels are alike. */
async function aucOf(
  client: Client,
  score: 'served' | 'backfill',
  parameters: Readonly<Record<string, unknown>>,
): Promise<number | null> {
  const [row] = await client.rows<{ readonly wins: number; readonly pairs: number }>(
    `SELECT sum(positive * (below + negative / 2)) AS wins, sum(positive) * sum(negative) AS pairs
FROM
(
    SELECT toFloat64(countIf(value = 1)) AS positive, toFloat64(countIf(value != 1)) AS negative,
      sum(negative) OVER (ORDER BY ${score} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - negative AS below
    FROM ${LABELLED} WHERE kind = 'boolean' GROUP BY ${score}
) ${SETTINGS}`,
    parameters,
  )
  return row === undefined || row.pairs === 0 ? null : row.wins / row.pairs
}
