export interface Discoveries {
  /** Which hypotheses are rejected, in the order of the p-values. */
  readonly rejected: readonly boolean[]
  /** Adjusted p-values, monotone: rejected at rate q are those at or below q. NaN where the p-value is NaN. */
  readonly adjusted: readonly number[]
}

/**
 * Benjamini and Hochberg's step-up procedure (1995): among the rejected, at most `rate` are false on average, for independent or positively
 * dependent tests. A p-value of NaN (a feature without enough records) is no test: it is neither rejected nor counted.
 */
export function benjaminiHochberg(pValues: readonly number[], rate: number): Discoveries {
  const adjusted = pValues.map(() => Number.NaN)
  const order = pValues.map((_, index) => index).filter((index) => !Number.isNaN(pValues[index]!))
  order.sort((left, right) => pValues[left]! - pValues[right]!)
  let smallest = 1
  for (let rank = order.length; rank >= 1; rank--) {
    const index = order[rank - 1]!
    smallest = Math.min(smallest, (pValues[index]! * order.length) / rank)
    adjusted[index] = smallest
  }
  return { rejected: adjusted.map((value) => value <= rate), adjusted }
}
