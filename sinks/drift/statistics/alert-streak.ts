/** What a window said; `insufficient` had too few records to say anything. */
export type WindowVerdict = 'drift' | 'calm' | 'insufficient'

/** After how many windows in a row an alert fires, and after how many it is resolved; both at least 1. */
export interface StreakRule {
  readonly raiseAfter: number
  readonly clearAfter: number
}

export interface AlertStreak {
  readonly state: 'resolved' | 'firing'
  /** Windows in a row that spoke against the state. */
  readonly against: number
}

export const RESOLVED: AlertStreak = { state: 'resolved', against: 0 }

/**
 * The state after one more window, in window order. resolved → firing after `raiseAfter` windows with drift in a row, firing → resolved after
 * `clearAfter` calm ones; a window with insufficient data leaves everything as it is, so a quiet night neither raises nor resolves.
 */
export function afterWindow(streak: AlertStreak, verdict: WindowVerdict, rule: StreakRule): AlertStreak {
  if (verdict === 'insufficient') return streak
  const supports = (verdict === 'drift') === (streak.state === 'firing')
  if (supports) return streak.against === 0 ? streak : { state: streak.state, against: 0 }
  const against = streak.against + 1
  if (streak.state === 'resolved') {
    return against >= rule.raiseAfter ? { state: 'firing', against: 0 } : { state: 'resolved', against }
  }
  return against >= rule.clearAfter ? RESOLVED : { state: 'firing', against }
}
