const BINS = 10

/**
 * Population stability index Σ (qᵢ − pᵢ) · ln(qᵢ / pᵢ) over 10 bins on the deciles of `expected`; both ascending. The same scores give 0;
 * above 0.25 counts as another distribution (Siddiqi, Credit Risk Scorecards, 2006). Equal deciles are one bin. Half a score is
 * added to each bin, so that an empty one is not infinite.
 */
export function populationStability(expected: Float32Array, actual: Float32Array): number {
  const edges: number[] = []
  for (let decile = 1; decile < BINS; decile++) {
    const edge = expected[Math.floor((expected.length * decile) / BINS)] as number
    if (edge !== edges.at(-1)) edges.push(edge)
  }
  const [p, q] = [sharesOf(expected, edges), sharesOf(actual, edges)]
  return p.reduce((sum, share, bin) => sum + ((q[bin] as number) - share) * Math.log((q[bin] as number) / share), 0)
}

/** Of the bins (−∞, e₀), [e₀, e₁), …, [eₙ, ∞). */
function sharesOf(sorted: Float32Array, edges: readonly number[]): readonly number[] {
  const counts = new Array<number>(edges.length + 1).fill(0.5)
  let bin = 0
  for (const score of sorted) {
    while (bin < edges.length && score >= (edges[bin] as number)) bin++
    counts[bin] = (counts[bin] as number) + 1
  }
  const total = sorted.length + counts.length / 2
  return counts.map((count) => count / total)
}
