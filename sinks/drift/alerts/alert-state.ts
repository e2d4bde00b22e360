import { type AlertStreak, afterWindow, RESOLVED } from '../statistics/alert-streak.ts'

/** What a closed window says to a rule. `Series` names what was looked at: a feature in a segment by a metric, say. */
export interface JudgedWindow {
  /** Epoch ms. */
  readonly start: number
  readonly end: number
  /** Series whose value breaks the rule. */
  readonly bad: readonly string[]
  /** Series that had too little data to say anything; every other one is well. */
  readonly silent: readonly string[]
  /** False when nothing in the window could be judged. */
  readonly judged: boolean
}

/** A rule as its last record says; `until` = end of the window that brought it there, epoch ms. */
export interface RuleState {
  readonly state: 'firing' | 'resolved'
  readonly until: number
}

const DAY_MINUTES = 1_440

export const NEVER_FIRED: RuleState = { state: 'resolved', until: Number.NEGATIVE_INFINITY }

export interface RuleChange {
  readonly state: 'firing' | 'resolved'
  /** The windows in a row that decided, in order. */
  readonly windows: readonly JudgedWindow[]
  /** What was bad in all of them; none when resolved. */
  readonly series: readonly string[]
}

/**
 * What windows behind the last change do to a rule, window by window:
 *
 *   resolved → firing    one and the same series was bad in `consecutive` windows in a row
 *   firing → resolved    nothing was bad in `consecutive` windows in a row
 *
 * A window or series that cannot be judged leaves everything as it is. `windows` are in order; those that end at or before `state.until`
 * are passed over, so that what is restated later never takes back a change. Pure: whoever asks the same hears the same.
 */
export function changesOf(
  state: RuleState,
  windows: readonly JudgedWindow[],
  consecutive: number,
): readonly RuleChange[] {
  const rule = { raiseAfter: consecutive, clearAfter: consecutive }
  const changes: RuleChange[] = []
  let firing = state.state === 'firing'
  let calm: AlertStreak = { state: 'firing', against: 0 }
  let calmWindows: JudgedWindow[] = []
  const raising = new Map<string, { streak: AlertStreak; windows: JudgedWindow[] }>()

  function raise(window: JudgedWindow): void {
    const bad = new Set(window.bad)
    const silent = new Set(window.silent)
    const fired: { series: string; windows: JudgedWindow[] }[] = []
    for (const series of new Set([...bad, ...raising.keys()])) {
      const before = raising.get(series) ?? { streak: RESOLVED, windows: [] }
      const verdict = bad.has(series) ? 'drift' : silent.has(series) || !window.judged ? 'insufficient' : 'calm'
      const streak = afterWindow(before.streak, verdict, rule)
      const counted = verdict === 'drift' ? [...before.windows, window] : before.windows
      if (streak.state === 'firing') fired.push({ series, windows: counted })
      if (streak.against === 0) raising.delete(series)
      else raising.set(series, { streak, windows: counted })
    }
    const first = fired[0]
    if (first === undefined) return
    // another series may have come here by other windows
    const alike = fired.filter(({ windows }) => windows.every((each, index) => each === first.windows[index]))
    changes.push({ state: 'firing', windows: first.windows, series: alike.map(({ series }) => series).sort() })
    firing = true
    raising.clear()
    calm = { state: 'firing', against: 0 }
    calmWindows = []
  }

  function clear(window: JudgedWindow): void {
    const verdict = window.bad.length > 0 ? 'drift' : window.judged ? 'calm' : 'insufficient'
    calm = afterWindow(calm, verdict, rule)
    if (verdict === 'calm') calmWindows.push(window)
    else if (verdict === 'drift') calmWindows = []
    if (calm.state === 'firing') return
    changes.push({ state: 'resolved', windows: calmWindows, series: [] })
    firing = false
  }

  for (const window of windows) {
    if (window.end <= state.until) continue
    if (firing) clear(window)
    else raise(window)
  }
  return changes
}

/** When a silence is over, epoch ms, that `epochMs` lies in; `epochMs` itself when it lies in none. Times of day are UTC, and may go over midnight. */
export function silenceEnd(
  silence: { readonly fromMinute: number; readonly toMinute: number } | null,
  epochMs: number,
): number {
  if (silence === null) return epochMs
  const { fromMinute, toMinute } = silence
  const minutes = Math.floor(epochMs / 60_000)
  const length = (toMinute - fromMinute + DAY_MINUTES) % DAY_MINUTES
  const into = (minutes - fromMinute + DAY_MINUTES) % DAY_MINUTES
  return into < length ? (minutes + length - into) * 60_000 : epochMs
}
