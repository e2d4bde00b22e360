import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import type {
  ReferenceMoments,
  ReferenceProfile,
  SegmentProfile,
  SubjectProfile,
} from '../../../schemas/control/profiles.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { sqlText } from '../sql-text.ts'
import { calibrate } from './calibrate.ts'
import { countsSql, PREDICTION_COLUMNS, productSumsSql, standardisedSql } from './count-index.ts'
import type { ReferenceRows } from './reference-rows.ts'
import { rounded, type Subject, summariseSubject } from './summarise-subject.ts'

/** Second moments grow with the square of the features: with more than these there are none. */
const MAX_MOMENT_FEATURES = 64
/** The profile is one record of the control log: so many numbers of segments are in it, of those with the most rows. */
const MAX_SEGMENT_NUMBERS = 20_000
const MAX_SEGMENTS = 32

/** Freezes what the rows say. Rejects with `reference_empty` (crash) when there are none, and as ClickHouse does. */
export async function buildProfile(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  pipeline: Pick<CompiledPipeline, 'features' | 'featureSet' | 'model'>,
  rows: ReferenceRows,
  source: ReferenceProfile['source'],
): Promise<ReferenceProfile> {
  const { table, hasScore } = rows
  const subjects: SubjectProfile[] = []
  for (const subject of subjectsOf(pipeline, hasScore)) {
    subjects.push(await summariseSubject(clickhouse, table, subject))
  }
  const positions = subjects.flatMap(({ subject, position, std }) =>
    subject === 'feature' && std > 0 ? [position] : [],
  )
  const withMoments = positions.length >= 2 && positions.length <= MAX_MOMENT_FEATURES
  const counting = { table, subjects, positions: withMoments ? positions : [] }
  const [whole] = await countRows(clickhouse, counting, null)
  if (whole === undefined || whole.rows === 0) throw fatal('reference_empty', 'the reference has no rows')
  const moments: ReferenceMoments | null = withMoments
    ? { rows: whole.rows, positions, products: whole.products.map((product) => rounded(product / whole.rows, 1)) }
    : null
  return {
    model: pipeline.model.name,
    featureSet: pipeline.featureSet.digest,
    source,
    rows: whole.rows,
    subjects: subjects.map((subject, index) => ({ ...subject, counts: whole.counts[index] ?? [] })),
    segments: await countSegments(clickhouse, counting),
    moments,
    calibration: hasScore ? await calibrate(clickhouse, table) : null,
  }
}

function subjectsOf({ features }: Pick<CompiledPipeline, 'features'>, hasScore: boolean): readonly Subject[] {
  const all = features.map(({ name, type }, position) => ({ subject: 'feature' as const, name, position, type }))
  const score = { subject: 'score', name: 'score', position: -1, type: { type: 'float32' } } as const
  return hasScore ? [...all, score] : all
}

interface Counting {
  readonly table: string
  readonly subjects: readonly SubjectProfile[]
  /** Of the features with moments; empty = none. */
  readonly positions: readonly number[]
}

async function countSegments(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  counting: Counting,
): Promise<readonly SegmentProfile[]> {
  const { table, subjects, positions } = counting
  const numbers = subjects.reduce((sum, { counts }) => sum + counts.length, triangle(positions.length))
  const limit = Math.min(MAX_SEGMENTS, Math.floor(MAX_SEGMENT_NUMBERS / numbers))
  const largest = await clickhouse.rows<{ segment: string }>(
    `SELECT segment FROM ${table} WHERE segment NOT IN ('', '*') GROUP BY segment ORDER BY count() DESC, segment LIMIT ${limit}`,
  )
  if (largest.length === 0) return []
  const segments = await countRows(
    clickhouse,
    counting,
    largest.map(({ segment }) => segment),
  )
  return segments.map(({ segment, rows, counts, products }) => ({
    segment,
    rows,
    counts,
    products: products.map((product) => rounded(product / rows, 1)),
  }))
}

function triangle(size: number): number {
  return (size * (size + 1)) / 2
}

interface Counted {
  readonly segment: string
  readonly rows: number
  readonly counts: readonly (readonly number[])[]
  /** Sums. */
  readonly products: readonly number[]
}

/** Of all rows (null), or of each of these segments. */
async function countRows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  { table, subjects, positions }: Counting,
  segments: readonly string[] | null,
): Promise<readonly Counted[]> {
  const standardised = standardisedSql({ subjects, moments: { positions } }, PREDICTION_COLUMNS)
  const columns = standardised.map((_, index) => `z${index}`)
  const inner = ['segment', 'features', 'score', ...standardised.map((sql, index) => `${sql} AS ${columns[index]}`)]
  const where = segments === null ? '' : `WHERE segment IN (${segments.map(sqlText).join(', ')})`
  const counts = subjects.map((subject) => countsSql(subject, PREDICTION_COLUMNS))
  const rows = await clickhouse.rows<{
    segment: string
    n: string
    counts: readonly (readonly string[])[]
    products: readonly (number | string)[]
  }>(
    `SELECT ${segments === null ? `''` : 'segment'} AS segment, count() AS n, [${counts.join(', ')}] AS counts,
       ${positions.length === 0 ? '[]' : productSumsSql(columns, 'sumKahan')} AS products
     FROM (SELECT ${inner.join(', ')} FROM ${table} ${where})
     ${segments === null ? '' : 'GROUP BY segment ORDER BY segment'}`,
  )
  return rows.map((row) => ({
    segment: row.segment,
    rows: Number(row.n),
    counts: row.counts.map((each) => each.map(Number)),
    products: row.products.map(Number),
  }))
}
