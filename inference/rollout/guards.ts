import type { GuardLimits, RolloutEntry, RolloutPlan } from '../../schemas/control/models.ts'
import { populationStability } from './population-stability.ts'
import { type Evidence, WHOLE } from './rollout-state.ts'
import { createScoreWindow, KEPT_SCORES, OCTAVES, type ScoreWindow } from './score-window.ts'

/** Told of everything that was scored, shadow included. Must not throw. */
export interface GuardObserver {
  /**
   * Once per scored batch and version. `scores`: one per answered row, copied; NaN = none. `rows`: that the model was run on; of them
   * `failed` it failed on, and `invalid` it gave NaN, an infinite number or one out of range for. `runMs`: for all of them, in runs
   * of `runRows` on average.
   */
  scored(
    version: string,
    scores: Float32Array,
    rows: number,
    failed: number,
    invalid: number,
    runMs: number,
    runRows: number,
  ): void
}

/** A version that must not serve on, and why. */
export interface Violation {
  readonly version: string
  readonly evidence: Evidence
}

export interface Guards extends GuardObserver {
  /** Looks at what this process has seen of the versions in force; `now` is monotonic ms. */
  judge(rollout: RolloutEntry | null, now: number): Violation | null
}

/** How many windows after its activation a production version is still compared with the one before it. */
const WATCHED_WINDOWS = 10

/**
 * A candidate and a shadow are compared with production over the same time; scores only where both had the same records, as those
 * of other entities are distributed otherwise, and time only as far as the sizes of their runs allow. A production that was just activated is compared with
 * what this process saw of the version before it last: rates alone, as it is another time. One that saw nothing of it does not judge.
 */
export function createGuards(): Guards {
  const windows = new Map<string, ScoreWindow>()
  /** Of each version's last window that was full. */
  const finished = new Map<string, Counts>()
  /** Epoch that is judged, since when, and when the windows began. */
  let epoch = -1
  let activatedAt = 0
  let since = 0

  function windowOf(version: string): ScoreWindow {
    const known = windows.get(version)
    if (known !== undefined) return known
    const made = createScoreWindow()
    windows.set(version, made)
    return made
  }

  function begin(rollout: RolloutEntry, now: number): void {
    const { active, previous } = rollout
    const named = [active?.production, active?.candidate?.version, active?.shadow?.version]
    for (const [version, window] of windows) {
      // what the version before did last is what the new one is measured by
      if (named.includes(version)) window.reset()
      else if (version !== previous?.production) {
        windows.delete(version)
        finished.delete(version)
      }
    }
    epoch = active?.epoch ?? -1
    activatedAt = since = now
  }

  return {
    scored: (version, ...batch) => windowOf(version).add(...batch),

    judge(rollout, now) {
      const active = rollout?.active ?? null
      if (rollout === null || active === null) {
        windows.clear()
        return null
      }
      if (active.epoch !== epoch) begin(rollout, now)
      const { guards: limits, production, candidate, shadow } = active
      if (limits === null) return null
      const challengers = [candidate?.version, shadow?.version].filter((version) => version !== undefined)
      for (const version of challengers) {
        const [own, other] = [windowOf(version), windowOf(production)]
        const found =
          compareRates(limits, own, other) ??
          compareTimes(limits, own, other) ??
          (haveSameRecords(active, version) ? compareScores(limits, own, other) : null)
        if (found !== null) return violation(version, production, found, now - since)
      }
      const before = rollout.previous?.production ?? production
      if (before !== production && now - activatedAt < WATCHED_WINDOWS * limits.windowMs) {
        const baseline = windowOf(before).rows < limits.minRows ? finished.get(before) : windowOf(before)
        const found = baseline === undefined ? null : compareRates(limits, windowOf(production), baseline)
        if (found !== null) return violation(production, before, found, now - since)
      }
      const isFull = [production, ...challengers].every((version) => windowOf(version).rows >= limits.minRows)
      if (now - since >= limits.windowMs && isFull) {
        for (const version of [production, ...challengers]) {
          const { rows, failed, invalid } = windowOf(version)
          finished.set(version, { rows, failed, invalid })
          windowOf(version).reset()
        }
        since = now
      }
      return null
    },
  }
}

interface Found {
  readonly guard: 'error_rate' | 'invalid_rate' | 'p99' | 'score_distribution'
  readonly value: number
  readonly baseline: number
  readonly limit: number
  readonly rows: number
  readonly baselineRows: number
}

type Counts = Pick<ScoreWindow, 'rows' | 'failed' | 'invalid'>

function compareRates({ minRows, errorRate, invalidRate }: GuardLimits, own: Counts, other: Counts): Found | null {
  if (own.rows < minRows || other.rows < minRows) return null
  const counts = { rows: own.rows, baselineRows: other.rows }
  const rates = [
    ['error_rate', own.failed / own.rows, other.failed / other.rows, errorRate],
    ['invalid_rate', own.invalid / own.rows, other.invalid / other.rows, invalidRate],
  ] as const
  for (const [guard, value, baseline, limit] of rates) {
    if (limit !== null && value - baseline > limit) return { guard, value, baseline, limit, ...counts }
  }
  return null
}

/**
 * A run of more rows takes longer, and less for each of them. So a row of a run is slow when it took too long beside a row of a run
 * that was no larger, or when its whole run did beside one that was larger: identical versions differ in neither.
 */
function compareTimes(limits: GuardLimits, own: ScoreWindow, other: ScoreWindow): Found | null {
  const { minRows, slowdown, slowFloorUs } = limits
  if (slowdown === null) return null
  const octaves = Array.from({ length: OCTAVES }, (_, octave) => octave)
  for (const size of octaves.filter((octave) => own.rowsIn(octave) >= minRows)) {
    const value = own.p99Us(size)
    if (value <= slowFloorUs) continue
    for (const otherSize of octaves.filter((octave) => other.rowsIn(octave) >= minRows)) {
      // of a larger run: its time at its largest, over the rows of the smaller one at its smallest
      const rows = otherSize > size ? 2 ** (otherSize + 1 - size) : 1
      const baseline = other.p99Us(otherSize) * rows
      const counts = { rows: own.rowsIn(size), baselineRows: other.rowsIn(otherSize) }
      if (value > slowdown * baseline) return { guard: 'p99', value, baseline, limit: slowdown, ...counts }
    }
  }
  return null
}

/** A shadow of everything, while nobody but production answers. */
function haveSameRecords({ candidate, shadow }: RolloutPlan, version: string): boolean {
  const isAlone = candidate === null || candidate.paused || candidate.weight === 0
  return isAlone && shadow?.version === version && shadow.share === WHOLE
}

function compareScores({ minRows, psi }: GuardLimits, own: ScoreWindow, other: ScoreWindow): Found | null {
  if (psi === null || own.rows < minRows || other.rows < minRows) return null
  const counts = { rows: own.rows, baselineRows: other.rows }
  const [scores, expected] = [own.sortedScores(), other.sortedScores()]
  const enough = Math.min(minRows, KEPT_SCORES)
  if (scores.length < enough || expected.length < enough) return null
  const distance = populationStability(expected, scores)
  return distance > psi ? { guard: 'score_distribution', value: distance, baseline: 0, limit: psi, ...counts } : null
}

function violation(version: string, against: string, found: Found, windowMs: number): Violation {
  return { version, evidence: { version, against, ...found, windowMs: Math.round(windowMs) } }
}
