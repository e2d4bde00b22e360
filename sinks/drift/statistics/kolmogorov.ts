/**
 * P(K > x) of Kolmogorov's distribution, the limit of √(nm/(n + m))·D. The alternating series 2 Σ (−1)^(j−1) e^(−2j²x²) (Kolmogorov 1933)
 * where it converges fast, its theta transformation below.
 */
export function kolmogorovSurvival(x: number): number {
  if (Number.isNaN(x)) return Number.NaN
  if (x <= 0) return 1
  if (x < 1.18) {
    let sum = 0
    for (let j = 1; j <= 9; j += 2) sum += Math.exp((-(j * j) * Math.PI ** 2) / (8 * x * x))
    return Math.min(1, Math.max(0, 1 - (Math.sqrt(2 * Math.PI) / x) * sum))
  }
  let sum = 0
  for (let j = 1; j <= 9; j++) sum += (j % 2 === 1 ? 1 : -1) * Math.exp(-2 * j * j * x * x)
  return Math.min(1, Math.max(0, 2 * sum))
}

/** p-value of a Kolmogorov–Smirnov distance of n and m records in the limit of many; too large (careful) for ties and bins. */
export function kolmogorovPValue(distance: number, n: number, m: number): number {
  return kolmogorovSurvival(Math.sqrt((n / (n + m)) * m) * distance)
}
