import { expect, test } from 'vitest'
import type { ReferenceProfile, ValuesProfile } from '../../schemas/control/profiles.ts'
import { type PartCounts, spreadOfWindows } from '../../sinks/drift/profiles/own-windows.ts'
import { ownSpreads, raised, spreadOf } from '../../sinks/drift/scores/own-spread.ts'
import { createSubjectScorer, type MetricScore } from '../../sinks/drift/scores/score-subject.ts'

const HOUR = 3_600_000
const own = { windowMs: HOUR, minRows: 500 }

/** Two values, others, unseen, missing. */
const WINDOWS = [
  [600, 400, 0, 0, 0],
  [500, 480, 0, 0, 20],
  [650, 350, 0, 0, 0],
  [700, 290, 0, 0, 10],
  [10, 10, 0, 0, 0],
]

const kind: ValuesProfile = {
  ...{ kind: 'values', name: 'kind', subject: 'feature', position: 0, mean: 0.4, std: 0.5, min: 0, max: 1 },
  ...{ values: [0, 1], others: [], names: null },
  counts: WINDOWS[0]!.map((_, bin) => WINDOWS.reduce((sum, window) => sum + window[bin]!, 0)),
}
const whole: Pick<ReferenceProfile, 'rows' | 'subjects' | 'segments' | 'moments'> = {
  ...{ rows: 4_020, subjects: [kind], segments: [], moments: null },
}
const parts: readonly PartCounts[] = WINDOWS.map((counts) => ({
  ...{ segment: '*', rows: counts.reduce((sum, count) => sum + count, 0), counts: [counts], products: [] },
}))

test('each window is compared with the rest of the reference; one with too few rows is not asked', () => {
  const scorer = createSubjectScorer(500)
  const found = spreadOfWindows(whole, parts, own)?.segments[0]
  const values = WINDOWS.slice(0, 4).map((current) => {
    const reference = WINDOWS.filter((window) => window !== current).reduce((sum, window) =>
      sum.map((count, bin) => count + window[bin]!),
    )
    return scorer.score(kind, { reference, current }).find(({ metric }) => metric === 'tvd')!.value
  })
  const mean = values.reduce((sum, value) => sum + value, 0) / 4
  const [windows, ...rest] = found!.subjects[0]!['tvd']!
  expect(found).toMatchObject({ segment: '*', structure: null })
  expect(windows).toBe(4)
  expect(rest[0]).toBeCloseTo(mean, 6)
  expect(rest[1]).toBeCloseTo(Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 4), 6)
  expect(rest[2]).toBeCloseTo(Math.max(...values), 6)
  expect(Object.keys(found!.subjects[0]!)).toEqual([
    ...['psi', 'js', 'hellinger', 'tvd', 'linf', 'chi2', 'missing', 'unseen'],
  ])
})

test('three windows say nothing of how much they vary', () => {
  expect(spreadOfWindows(whole, parts.slice(0, 3), own)).toBeNull()
  expect(spreadOf([0.1, 0.2, 0.3])).toBeNull()
  expect(spreadOf([0.1, 0.1, 0.1, 0.3])).toEqual([4, 0.15, 0.0866025, 0.3])
})

test('with the multivariate error too, and by segment', () => {
  const number = { ...kind, position: 1, name: 'other' }
  const moments = { rows: 4_000, positions: [0, 1], products: [1, 0.5, 1] }
  const part = (segment: string, rows: number, r: number): PartCounts => ({
    ...{ segment, rows, counts: [WINDOWS[0]!, WINDOWS[0]!], products: [rows, r * rows, rows] },
  })
  const profile = {
    ...{ rows: 4_000, subjects: [kind, number], moments },
    segments: [{ segment: 'JFK', rows: 2_000, counts: [kind.counts, kind.counts], products: [1, 0.5, 1] }],
  }
  const windows = [0.4, 0.6, 0.45, 0.55].flatMap((r) => [part('*', 1_000, r), part('JFK', 400, r)])
  const found = spreadOfWindows(profile, windows, own)?.segments
  expect(found?.map(({ segment }) => segment)).toEqual(['*', 'JFK'])
  expect(found?.[0]?.structure?.[0]).toBe(4)
  expect(found?.[0]?.structure?.[3]).toBeGreaterThan(0)
  // 400 rows are below 500
  expect(found?.[1]?.structure).toBeNull()
})

const score: MetricScore = {
  ...{ metric: 'psi', value: 0.3, noiseFloor: 0.02, threshold: 0.1, test: 'distribution', pValue: 0 },
  ...{ n: 1_000, nReference: 4_000, contributions: [] },
}

test('a threshold is the largest of what matters, the noise, and what the reference does by itself', () => {
  expect(raised(score, null)).toMatchObject({ threshold: 0.1, thresholdBy: 'practical' })
  expect(raised({ ...score, threshold: 0.2, noiseFloor: 0.2 }, undefined)).toMatchObject({ thresholdBy: 'noise_floor' })
  expect(raised(score, [4, 0.05, 0.01, 0.06])).toMatchObject({ threshold: 0.1, thresholdBy: 'practical' })
  const spread = raised(score, [4, 0.1, 0.02, 0.11])
  expect(spread.threshold).toBeCloseTo(0.16, 12)
  expect(spread.thresholdBy).toBe('reference_windows')
  expect(raised(score, [4, 0.1, 0.02, 0.4]).threshold).toBeCloseTo(0.4, 4)
})

test("χ²'s is by effective row, so that windows of other sizes have it too", () => {
  const chi2 = { ...score, metric: 'chi2', value: 200, noiseFloor: 9, threshold: 80 }
  expect(raised(chi2, [4, 0.2, 0, 0.2]).threshold).toBeCloseTo(0.2 * 800, 2)
})

test('a profile without windows changes nothing', () => {
  for (const spreads of [ownSpreads({}), ownSpreads({ windows: null })]) {
    expect(spreads.ofSubject('*', 0, [score])).toEqual([{ ...score, thresholdBy: 'practical' }])
    expect(spreads.ofStructure('JFK', score).threshold).toBe(0.1)
  }
})
