import { expect, test } from 'vitest'
import { createWindowScorer } from '../../sinks/drift/scores/score-windows.ts'
import { usual, usualProfile } from '../support/drift-data.ts'
import { windowsOf } from '../support/drift-windows.ts'
import { seededRandom } from '../support/seeded-random.ts'

// Windows of the same kind as the reference, drawn anew: whatever fires is a false alarm.

const WINDOWS = 120
const content = usualProfile(20_000)

test.each([500, 1_500])(
  'of windows of %i predictions that are like the reference, at most one in twenty has any flag',
  (rows) => {
    const scorer = createWindowScorer(content, 500)
    const flagged: string[][] = []
    let tested = 0
    for (let window = 0; window < WINDOWS; window++) {
      const random = seededRandom(1_000 + window)
      const drawn = Array.from({ length: rows }, () => ({ ...usual(random), segment: random.pick(['EWR', 'JFK']) }))
      const { subjects, moments } = windowsOf(content, drawn, scorer.weights ?? [])
      const scores = scorer
        .score(subjects, moments)
        .flatMap((each) => each.scores.map((score) => ({ ...each, ...score })))
      tested += scores.filter(({ adjusted }) => adjusted !== null).length
      const flags = scores.filter(({ drift }) => drift)
      if (flags.length > 0) flagged.push(flags.map(({ feature, segment, metric }) => `${feature} ${segment} ${metric}`))
    }
    // every window was judged: numeric subjects by 9 metrics (but the one that misses too many values for 500), a category by 8, the structure
    expect(tested).toBeGreaterThanOrEqual(WINDOWS * (5 * 9 + 1 + 8 + 1))
    expect(flagged.length / WINDOWS, JSON.stringify(flagged)).toBeLessThanOrEqual(0.05)
  },
)
