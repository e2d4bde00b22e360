/** Increases of the mean of a stream, as River's defaults have it. */
export interface PageHinkleyRule {
  /** No alarm before the count is at so many: 30. */
  readonly minValues?: number
  /** Change of the mean that does not count: 0.005. */
  readonly tolerance?: number
  /** Alarm from this sum on: 50. */
  readonly threshold?: number
  /** Weight of the sum so far at each value: 1 − 0.0001. */
  readonly forgetting?: number
}

/** O(1), plain data: it can be stored and resumed. */
export interface PageHinkleyState {
  readonly count: number
  readonly mean: number
  readonly sum: number
}

export const PAGE_HINKLEY_START: PageHinkleyState = { count: 1, mean: 0, sum: 0 }

/**
 * Page's test (1954) with Hinkley's reset: the mean follows the values, s = max(0, α·s + x − mean − δ), an alarm when s ≥ λ, after which
 * everything starts again. The count starts at 1, as in River and MOA, so that it is one ahead of the values.
 */
export function afterPageHinkley(
  state: PageHinkleyState,
  value: number,
  rule: PageHinkleyRule = {},
): { readonly state: PageHinkleyState; readonly alarm: boolean } {
  const { minValues = 30, tolerance = 0.005, threshold = 50, forgetting = 1 - 0.0001 } = rule
  const mean = state.mean + (value - state.mean) / state.count
  const sum = Math.max(0, forgetting * state.sum + value - mean - tolerance)
  const count = state.count + 1
  if (count >= minValues && sum >= threshold) return { state: PAGE_HINKLEY_START, alarm: true }
  return { state: { count, mean, sum }, alarm: false }
}
