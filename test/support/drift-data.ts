import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { NumericProfile, ProfileEntry, ReferenceProfile, ValuesProfile } from '../../schemas/control/profiles.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import { predictionOf } from './predictions.ts'
import { type SeededRandom, seededRandom } from './seeded-random.ts'

export const PIPELINE = 'planted'
export const FEATURES = ['amount', 'pace', 'kind', 'left', 'right', 'rest'] as const
const BINS = 40
export const MINUTE = 60_000
export const HOUR = 3_600_000
/** Windows of an hour, panes of five minutes. */
export const MONITOR = { paneMs: 5 * MINUTE, windowMs: HOUR, minRows: 500 } as const

/** Values of a prediction, before anything was planted. */
export interface Planted {
  features: number[]
  score: number
}

export function normal(random: SeededRandom): number {
  const radius = Math.sqrt(-2 * Math.log(1 - random.next()))
  return radius * Math.cos(2 * Math.PI * random.next())
}

/** A record as the reference has them: two plain features, a category of 0 to 2, two that go together (r = 0.8), one with 5 % missing. */
export function usual(random: SeededRandom): Planted {
  const left = normal(random)
  const amount = normal(random)
  return {
    features: [
      50 + 10 * amount,
      normal(random),
      random.pick([0, 0, 0, 1, 1, 2]),
      left,
      0.8 * left + 0.6 * normal(random),
      random.chance(0.05) ? Number.NaN : normal(random),
    ],
    score: 1 / (1 + Math.exp(-amount - normal(random))),
  }
}

/** A profile of so many of them. */
export function usualProfile(rows = 50_000, seed = 7): ReferenceProfile {
  const random = seededRandom(seed)
  return profileOf(Array.from({ length: rows }, () => ({ ...usual(random), segment: random.pick(['EWR', 'JFK']) })))
}

/** What the rows were, counted as profiles count. */
export function profileOf(rows: readonly (Planted & { readonly segment: string })[]): ReferenceProfile {
  const values = (position: number) => rows.map(({ features, score }) => (position < 0 ? score : features[position]!))
  const numeric = (position: number): NumericProfile => {
    const present = values(position).filter((value) => !Number.isNaN(value))
    const sorted = present.toSorted((a, b) => a - b)
    const lo = sorted[Math.floor(sorted.length * 0.005)]!
    const mean = present.reduce((sum, value) => sum + value, 0) / present.length
    const std = Math.sqrt(present.reduce((sum, value) => sum + (value - mean) ** 2, 0) / present.length)
    const subject = position < 0 ? ('score' as const) : ('feature' as const)
    const profile = {
      ...{ kind: 'numeric' as const, name: FEATURES[position] ?? 'score', subject },
      ...{ position, mean, std, min: sorted[0]!, max: sorted.at(-1)! },
      ...{ lo, width: (sorted[Math.floor(sorted.length * 0.995)]! - lo) / BINS, bins: BINS },
    }
    return { ...profile, counts: countNumeric(profile, values(position)) }
  }
  const category: ValuesProfile = {
    ...{ kind: 'values', name: 'kind', subject: 'feature', position: 2, mean: 0.67, std: 0.75, min: 0, max: 2 },
    ...{ values: [0, 1, 2], others: [], names: ['a', 'b', 'c'] },
    counts: [...[0, 1, 2].map((value) => values(2).filter((each) => each === value).length), 0, 0, 0],
  }
  const subjects = [numeric(0), numeric(1), category, numeric(3), numeric(4), numeric(5), numeric(-1)]
  const positions = [0, 1, 3, 4, 5]
  const products = (some: readonly Planted[]): number[] => {
    const sums: number[] = []
    for (const [at, i] of positions.entries()) {
      for (const j of positions.slice(at)) {
        const z = (row: Planted, position: number): number => {
          const { mean, std } = subjects[position] as NumericProfile
          const value = (row.features[position]! - mean) / std
          return Number.isNaN(value) ? 0 : value
        }
        sums.push(some.reduce((sum, row) => sum + z(row, i) * z(row, j), 0) / some.length)
      }
    }
    return sums
  }
  const segments = [...new Set(rows.map(({ segment }) => segment))].sort().map((segment) => {
    const own = rows.filter((row) => row.segment === segment)
    const counts = subjects.map((subject) => {
      const some = own.map(({ features, score }) => (subject.position < 0 ? score : features[subject.position]!))
      if (subject.kind === 'numeric') return countNumeric(subject, some)
      return [...subject.values.map((value) => some.filter((each) => each === value).length), 0, 0, 0]
    })
    return { segment, rows: own.length, counts, products: products(own) }
  })
  return {
    ...{ model: 'delay', featureSet: 'set-1', rows: rows.length, subjects, segments, calibration: null },
    source: { kind: 'file', name: 'reference.avro', sha256: 'none' },
    moments: { rows: rows.length, positions, products: products(rows) },
  }
}

export function countNumeric(
  { lo, width, bins }: { readonly lo: number; readonly width: number; readonly bins: number },
  values: readonly number[],
): number[] {
  const counts = new Array<number>(bins + 3).fill(0)
  for (const value of values) {
    const bin = Math.max(0, Math.min(bins + 1, 1 + Math.floor((value - lo) / width)))
    counts[Number.isNaN(value) ? bins + 2 : bin]! += 1
  }
  return counts
}

export function entryOf(content: ReferenceProfile, profile = 'spring', pipeline = PIPELINE): ProfileEntry {
  return { pipeline, profile, state: 'accepted', digest: 'digest', content }
}

/** A prediction and where the topic has it. */
export interface StoredPrediction extends Planted {
  readonly at: number
  readonly partition: number
  readonly offset: number
  readonly segment: string
  readonly version?: string
  readonly role?: 'primary' | 'canary' | 'shadow'
}

const COLUMNS = Object.keys(predictionRows(PIPELINE).types)

/** Stores predictions as sinks do; with `copy` > 0 once more, so much further on in the topic. */
export async function storePredictions(
  clickhouse: Pick<ClickHouseClient, 'insert'>,
  rows: readonly StoredPrediction[],
  { copy = 0, pipeline = PIPELINE } = {},
): Promise<void> {
  const stored = rows.map(({ at, partition, offset, features, score, segment, version = '1', role = 'primary' }) => ({
    pipeline,
    ...predictionOf({
      ...{ event_id: `${partition}/${offset}`, event_time: at, segment, model_version: version, role },
      ...{ origin_offset: offset, source_offset: offset, features, score },
    }),
    written_at: Date.UTC(2026, 0, 5, 12, 0, 1) + copy,
    kafka_generation: 'predictions-id',
    kafka_partition: partition,
    kafka_offset: offset + copy,
  }))
  await clickhouse.insert('predictions', COLUMNS, stored)
}
