import { readFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import type { ReferenceProfile } from '../../schemas/control/profiles.ts'
import { DEFAULT_MONITOR } from '../../schemas/pipeline/monitor.ts'
import { createWindowScorer, type JudgedScore } from '../../sinks/drift/scores/score-windows.ts'
import { afterWindow, RESOLVED } from '../../sinks/drift/statistics/alert-streak.ts'

// The year of the flights sample as it was stored, against the profile that lies beside its pipeline: January to March.

const ROOT = path.join(import.meta.dirname, '../..')
const WEEK = 604_800_000
const { minRows, consecutive } = DEFAULT_MONITOR

interface Stored {
  readonly subjects: readonly (readonly [segment: string, week: number, place: number, counts: number[]])[]
  readonly moments: readonly (readonly [segment: string, week: number, sums: number[], products: number[]])[]
}

const { content } = JSON.parse(readFileSync(path.join(ROOT, 'infra/sample/flights/reference.json'), 'utf8')) as {
  readonly content: ReferenceProfile
}
const stored = JSON.parse(
  gunzipSync(readFileSync(path.join(ROOT, 'test/fixtures/drift/flights-windows.json.gz'))).toString(),
) as Stored

interface Flag extends JudgedScore {
  readonly window: string
  readonly segment: string
  readonly feature: string
}

/** Scores of the whole year, in the order of their windows. */
function scoresOf(profile: ReferenceProfile): readonly Flag[] {
  const same = { version: '1', role: 'primary' }
  const subjects = stored.subjects.map(([segment, week, place, counts]) => {
    const { subject, position } = profile.subjects[place]!
    const n = counts.reduce((sum, count) => sum + count, 0)
    return { ...same, segment, window: week * WEEK, subject, position, n, counts }
  })
  const moments = stored.moments.map(([segment, week, sums, products]) => {
    const [n, panes, r, rr, rn, nn] = sums as [number, number, number, number, number, number]
    return { ...same, segment, window: week * WEEK, n, panes, r, rr, rn, nn, products }
  })
  return createWindowScorer(profile, minRows)
    .score(subjects, moments)
    .flatMap(({ window, segment, feature, scores }) =>
      scores.map((score) => ({
        ...score,
        ...{ segment, feature, window: new Date(window).toISOString().slice(0, 10) },
      })),
    )
    .sort((a, b) => (a.window < b.window ? -1 : a.window > b.window ? 1 : 0))
}

const scores = scoresOf(content)
const within = scores.filter(({ window }) => window >= '2013-01-01' && window < '2013-03-28')
const after = scores.filter(({ window }) => window >= '2013-04-01')

/** Windows in which the feature drifts, in all segments together. */
function windowsOf(feature: string, metric?: string): readonly string[] {
  const flags = after.filter((each) => each.drift && each.segment === '*' && each.feature === feature)
  return [
    ...new Set(flags.filter((each) => metric === undefined || each.metric === metric).map(({ window }) => window)),
  ]
}

/** When an alert on any drift would fire, by the window that it fires after. */
function firings(of: readonly Flag[]): readonly string[] {
  let streak = RESOLVED
  const fired: string[] = []
  for (const window of new Set(of.map((each) => each.window))) {
    const drift = of.some((each) => each.window === window && each.drift)
    const next = afterWindow(streak, drift ? 'drift' : 'calm', { raiseAfter: consecutive, clearAfter: consecutive })
    if (next.state === 'firing' && streak.state === 'resolved') fired.push(window)
    streak = next
  }
  return fired
}

test('January to March against itself: of twelve whole weeks none says drift', () => {
  expect(new Set(within.map(({ window }) => window)).size).toBe(12)
  expect(within.filter(({ adjusted }) => adjusted !== null).length).toBeGreaterThan(6_000)
  expect(within.filter(({ drift }) => drift)).toEqual([])
})

test('without what is known of its own windows, weather alone would say drift every week', () => {
  const flags = scoresOf({ ...content, windows: null }).filter(
    ({ window, drift }) => drift && window >= '2013-01-01' && window < '2013-03-28',
  )
  expect(flags.length).toBeGreaterThan(1_000)
  expect(new Set(flags.map(({ window }) => window)).size).toBe(12)
})

test('no alert fires before April, also with the first days of January, which are no week', () => {
  expect(firings(scores.filter(({ window }) => window < '2013-04-01'))).toEqual([])
  expect(firings(scores)[0]).toBe('2013-04-04')
})

test('the seasons are found: temperature first and longest, wind and rain in summer, and the score', () => {
  const temperature = windowsOf('temp')
  expect(temperature[0]).toBe('2013-04-04')
  expect(temperature.filter((window) => window >= '2013-06-01' && window < '2013-10-01')).toHaveLength(17)
  expect(windowsOf('wind_gust').length).toBeGreaterThan(3)
  expect(windowsOf('precip').length).toBeGreaterThan(1)
  expect(windowsOf('score', 'ks').length).toBeGreaterThan(5)
  expect(windowsOf('*').length).toBeGreaterThan(10)
})

test('a score says what its threshold is made of', () => {
  const whole = after.filter(({ segment, window }) => segment === '*' && window === '2013-07-04')
  const of = (feature: string, metric: string) =>
    whole.find((each) => each.feature === feature && each.metric === metric)
  expect(of('temp', 'w1')).toMatchObject({ thresholdBy: 'reference_windows', drift: true })
  expect(of('origin', 'psi')).toMatchObject({ thresholdBy: 'practical', threshold: 0.1, drift: false })
  const pressure = of('pressure', 'psi')!
  expect(pressure.adjusted).toBeLessThan(1e-6)
  expect(pressure.value).toBeGreaterThan(0.1)
  expect(pressure).toMatchObject({ thresholdBy: 'reference_windows', drift: false })
})
