import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { SubjectProfile } from '../../../schemas/control/profiles.ts'
import type { CompiledFeature } from '../../../schemas/pipeline/compiled.ts'
import { PREDICTION_COLUMNS, valueSql } from './count-index.ts'

/** What is counted, as the pipeline has it. */
export type Subject =
  | {
      readonly subject: 'feature'
      readonly name: string
      readonly position: number
      readonly type: CompiledFeature['type']
    }
  | {
      readonly subject: 'score'
      readonly name: 'score'
      readonly position: -1
      readonly type: { readonly type: 'float32' }
    }

const BINS = 40
const TOP_VALUES = 40
/** A number with no more values than this is counted by value, when each of them is there often enough to be expected again. */
const FEW_VALUES = 40
const ROWS_PER_VALUE = 10
/** What a profile keeps of a mean: the last digits depend on the order in which the server adds up, which is never the same. */
const DIGITS = 10
const MOST_DECIMALS = 100

interface Summary {
  readonly finite: string
  readonly mean: number | string
  readonly std: number | string
  readonly min: number | string
  readonly max: number | string
  readonly low: number | string
  readonly high: number | string
  readonly distinct: string
}

/** How the subject will be counted, by what the reference's rows have of it; every count is still 0. */
export async function summariseSubject(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  table: string,
  subject: Subject,
): Promise<SubjectProfile> {
  const rows = `(SELECT ${valueSql(subject, PREDICTION_COLUMNS)} AS value, if(value = 0, 0., value) AS x FROM ${table} WHERE isFinite(value))`
  const [summary] = await clickhouse.rows<Summary>(
    `WITH (SELECT sumKahan(x) / count() FROM ${rows}) AS middle
     SELECT count() AS finite, middle AS mean, sqrt(sumKahan(pow(x - middle, 2)) / count()) AS std, min(x) AS min, max(x) AS max,
       quantileExact(0.005)(x) AS low, quantileExact(0.995)(x) AS high, uniqUpTo(${FEW_VALUES})(x) AS distinct
     FROM ${rows}`,
  )
  const { name, position } = subject
  const shared = { name, subject: subject.subject, position }
  const finite = Number(summary?.finite ?? 0)
  if (summary === undefined || finite === 0) {
    const none = { ...shared, mean: 0, std: 0, min: null, max: null }
    return { ...none, kind: 'values', values: [], others: [], names: namesOf(subject), counts: zeros(3) }
  }
  const [min, max, distinct] = [Number(summary.min), Number(summary.max), Number(summary.distinct)]
  const isConstant = min === max
  const size = Math.max(Math.abs(min), Math.abs(max))
  const base = {
    ...shared,
    mean: isConstant ? min : rounded(Number(summary.mean), size),
    std: isConstant ? 0 : rounded(Number(summary.std), size),
    min,
    max,
  }
  const isFew = distinct <= 2 || (distinct <= FEW_VALUES && finite >= distinct * ROWS_PER_VALUE)
  if (subject.type.type === 'float32' && !isFew) return { ...base, ...bins(summary, min, max) }
  const counted = await clickhouse.rows<{ value: number; n: string }>(
    `SELECT x AS value, count() AS n FROM ${rows} GROUP BY x ORDER BY n DESC, x`,
  )
  const all = counted.map(({ value }) => Number(value))
  const values = all.slice(0, TOP_VALUES)
  const others = all.slice(TOP_VALUES).sort((a, b) => a - b)
  return { ...base, kind: 'values', values, others, names: namesOf(subject), counts: zeros(values.length + 3) }
}

/** Between the quantiles; where these are one value, up to or from the extreme beyond it. */
function bins(summary: Summary, min: number, max: number) {
  let [lo, hi] = [Number(summary.low), Number(summary.high)]
  if (lo === hi) hi = max
  if (lo === hi) lo = min
  return { kind: 'numeric' as const, lo, width: (hi - lo) / BINS, bins: BINS, counts: zeros(BINS + 3) }
}

function namesOf({ type }: Subject): readonly string[] | null {
  return type.type === 'category' ? type.values : null
}

function zeros(length: number): readonly number[] {
  return Array.from({ length }, () => 0)
}

/** To what is the same whatever the order of the sum of numbers of this size. */
export function rounded(value: number, size: number): number {
  const decimals = DIGITS - Math.ceil(Math.log10(size))
  // never -0
  return Number(decimals > MOST_DECIMALS ? value.toPrecision(DIGITS) : value.toFixed(Math.max(0, decimals))) + 0
}
