import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import { sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import type {
  ReferenceMoments,
  ReferenceProfile,
  ReferenceWindows,
  SegmentProfile,
  SubjectProfile,
} from '../../../schemas/control/profiles.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { CompiledMonitor } from '../../../schemas/pipeline/monitor.ts'
import { calibrate } from './calibrate.ts'
import { countsSql, PREDICTION_COLUMNS, productSumsSql, standardisedSql } from './count-index.ts'
import { type PartCounts, spreadOfWindows } from './own-windows.ts'
import type { ReferenceRows } from './reference-rows.ts'
import { rounded, type Subject, summariseSubject } from './summarise-subject.ts'

/** Second moments grow with the square of the features: with more than these there are none. */
const MAX_MOMENT_FEATURES = 64
/** The profile is one record of the control log: so many numbers of segments are in it, of those with the most rows. */
const MAX_SEGMENT_NUMBERS = 20_000
const MAX_SEGMENTS = 32
/** Of more windows so many, chosen by their number: the same rows always give the same. */
const MAX_WINDOWS = 256

/** Freezes what the rows say. Rejects with `reference_empty` (crash) when there are none, and as ClickHouse does. */
export async function buildProfile(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  pipeline: Pick<CompiledPipeline, 'features' | 'featureSet' | 'model' | 'monitor'>,
  rows: ReferenceRows,
  source: ReferenceProfile['source'],
): Promise<ReferenceProfile> {
  const { table, hasScore, hasTimes } = rows
  const subjects: SubjectProfile[] = []
  for (const subject of subjectsOf(pipeline, hasScore)) {
    subjects.push(await summariseSubject(clickhouse, table, subject))
  }
  const positions = subjects.flatMap(({ subject, position, std }) =>
    subject === 'feature' && std > 0 ? [position] : [],
  )
  const withMoments = positions.length >= 2 && positions.length <= MAX_MOMENT_FEATURES
  const counting = { table, subjects, positions: withMoments ? positions : [] }
  const [whole] = await countRows(clickhouse, counting, {})
  if (whole === undefined || whole.rows === 0) throw fatal('reference_empty', 'the reference has no rows')
  const moments: ReferenceMoments | null = withMoments
    ? { rows: whole.rows, positions, products: whole.products.map((product) => rounded(product / whole.rows, 1)) }
    : null
  const counted = {
    rows: whole.rows,
    subjects: subjects.map((subject, index) => ({ ...subject, counts: whole.counts[index] ?? [] })),
    segments: await countSegments(clickhouse, counting),
    moments,
  }
  return {
    model: pipeline.model.name,
    featureSet: pipeline.featureSet.digest,
    source,
    ...counted,
    calibration: hasScore ? await calibrate(clickhouse, table) : null,
    windows: hasTimes ? await windowsOf(clickhouse, counting, counted, pipeline.monitor) : null,
  }
}

/**
 * How the reference's own windows differ, by their counts. Only those that it has the whole time of, to a pane: a part of one differs by
 * what it lacks (two days of a week have no weekend), and with it nothing else would be found.
 */
async function windowsOf(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  counting: Counting,
  whole: Parameters<typeof spreadOfWindows>[0],
  { paneMs, windowMs, minRows }: Pick<CompiledMonitor, 'paneMs' | 'windowMs' | 'minRows'>,
): Promise<ReferenceWindows | null> {
  const numbers = await clickhouse.rows<{ number: string }>(
    `WITH (SELECT (floor(min(at) / ${paneMs}) * ${paneMs}, ceil((max(at) + 1) / ${paneMs}) * ${paneMs}) FROM ${counting.table} WHERE isFinite(at)) AS seen
     SELECT ${windowSql(windowMs)} AS number FROM ${counting.table}
     WHERE isFinite(at) AND number * ${windowMs} >= seen.1 AND (number + 1) * ${windowMs} <= seen.2
     GROUP BY number HAVING count() >= ${minRows} ORDER BY cityHash64(number) LIMIT ${MAX_WINDOWS}`,
  )
  if (numbers.length === 0) return null
  const windows = { windowMs, numbers: numbers.map(({ number }) => Number(number)) }
  const all = await countRows(clickhouse, counting, { windows })
  const segments = whole.segments?.map(({ segment }) => segment) ?? []
  const parts = segments.length === 0 ? [] : await countRows(clickhouse, counting, { segments, windows })
  return spreadOfWindows(whole, [...all.map((window) => ({ ...window, segment: '*' })), ...parts], {
    windowMs,
    minRows,
  })
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
  const segments = await countRows(clickhouse, counting, { segments: largest.map(({ segment }) => segment) })
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

interface Parts {
  readonly segments?: readonly string[]
  readonly windows?: { readonly windowMs: number; readonly numbers: readonly number[] }
}

/** Of all rows, or of each of these segments, each of these windows, or both. */
async function countRows(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  { table, subjects, positions }: Counting,
  { segments, windows }: Parts,
): Promise<readonly PartCounts[]> {
  const standardised = standardisedSql({ subjects, moments: { positions } }, PREDICTION_COLUMNS)
  const columns = standardised.map((_, index) => `z${index}`)
  const inner = [
    'segment',
    'at',
    'features',
    'score',
    ...standardised.map((sql, index) => `${sql} AS ${columns[index]}`),
  ]
  const where = ['1']
  const key: string[] = []
  if (segments !== undefined) {
    key.push('segment')
    where.push(`segment IN (${segments.map(sqlText).join(', ')})`)
  }
  if (windows !== undefined) {
    key.push(windowSql(windows.windowMs))
    where.push(`isFinite(at) AND ${windowSql(windows.windowMs)} IN (${windows.numbers.join(', ')})`)
  }
  const counts = subjects.map((subject) => countsSql(subject, PREDICTION_COLUMNS))
  const rows = await clickhouse.rows<{
    part: string
    n: string
    counts: readonly (readonly string[])[]
    products: readonly (number | string)[]
  }>(
    `SELECT ${segments === undefined ? `''` : 'segment'} AS part, count() AS n, [${counts.join(', ')}] AS counts,
       ${positions.length === 0 ? '[]' : productSumsSql(columns, 'sumKahan')} AS products
     FROM (SELECT ${inner.join(', ')} FROM ${table} WHERE ${where.join(' AND ')})
     ${key.length === 0 ? '' : `GROUP BY ${key.join(', ')} ORDER BY ${key.join(', ')}`}`,
  )
  return rows.map((row) => ({
    segment: row.part,
    rows: Number(row.n),
    counts: row.counts.map((each) => each.map(Number)),
    products: row.products.map(Number),
  }))
}

function windowSql(windowMs: number): string {
  return `toInt64(floor(at / ${windowMs}))`
}
