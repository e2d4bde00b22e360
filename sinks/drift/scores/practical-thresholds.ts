/**
 * From which value on a difference matters, however sure it is. A flag also needs the value to be above the noise of a window of that size,
 * and a p-value that stands after the correction.
 */
export const PRACTICAL = {
  psi: 0.1,
  js: 0.1,
  hellinger: 0.1,
  tvd: 0.1,
  linf: 0.1,
  ks: 0.05,
  w1: 0.1,
  missing: 0.01,
  unseen: 0.01,
  reconstruction_error: 0.05,
} as const

/** Of the null hypotheses that are refused in a window, at most this share is true on average. */
export const FALSE_DISCOVERY_RATE = 0.05
