/** NumPy's automatic histogram edges and its histogram, to the last bit where that decides in which bin a value is. */
import { deviationOf, meanOf } from '../losses.ts'

export interface EdgeOptions {
  /** The values have an integer type in NumPy: bins are then at least 1 wide. */
  readonly integers?: boolean
}

/** `histogram_bin_edges(values, 'sturges')`: width (hi − lo) / (log2 n + 1). @throws RangeError for NaN or infinity, as NumPy does */
export function sturgesEdges(values: ArrayLike<number>, options: EdgeOptions = {}): Float64Array {
  return edgesOf(values, options, (spread) => spread / (Math.log2(values.length) + 1))
}

/**
 * `histogram_bin_edges(values, 'doane')`: width (hi − lo) / (1 + log2 n + log2(1 + |g| / σ_g)), g the population skewness,
 * σ_g = √(6(n − 2) / ((n + 1)(n + 3))). One bin for fewer than three values. @throws RangeError for NaN or infinity
 */
export function doaneEdges(values: ArrayLike<number>, options: EdgeOptions = {}): Float64Array {
  return edgesOf(values, options, (spread) => {
    const n = values.length
    const deviation = deviationOf(values)
    if (n <= 2 || !(deviation > 0)) return 0
    const mean = meanOf(values)
    const skewness = meanOf(Float64Array.from(values, (value) => ((value - mean) / deviation) ** 3))
    const noise = Math.sqrt((6 * (n - 2)) / ((n + 1) * (n + 3)))
    return spread / (1 + Math.log2(n) + Math.log2(1 + Math.abs(skewness) / noise))
  })
}

/** `numpy.linspace(low, high, bins + 1)`. */
export function equalEdges(low: number, high: number, bins: number): Float64Array {
  const step = (high - low) / bins
  return Float64Array.from({ length: bins + 1 }, (_, edge) => (edge === bins ? high : low + edge * step))
}

/**
 * `histogram(values, edges)` for edges of one width: bins are closed on the left, the last one on both sides; values outside do not count.
 * The index by division is corrected by one against the edges themselves, as NumPy does.
 */
export function histogram(values: ArrayLike<number>, edges: Float64Array): Float64Array {
  const bins = edges.length - 1
  const [low, high] = [edges[0]!, edges[bins]!]
  const counts = new Float64Array(bins)
  for (let row = 0; row < values.length; row++) {
    const value = values[row]!
    if (!(value >= low && value <= high)) continue
    let bin = Math.min(bins - 1, Math.floor(((value - low) / (high - low)) * bins))
    if (value < edges[bin]!) bin--
    else if (bin < bins - 1 && value >= edges[bin + 1]!) bin++
    counts[bin]!++
  }
  return counts
}

/** Without missing and infinite values, which the tools drop before they compare. */
export function finiteOf(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values).filter(Number.isFinite)
}

/** Smallest and largest value. @throws RangeError for NaN or infinity */
export function rangeOf(values: ArrayLike<number>): readonly [low: number, high: number] {
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  for (let row = 0; row < values.length; row++) {
    const value = values[row]!
    if (!Number.isFinite(value)) throw new RangeError(`value ${row} is ${value}: no bins`)
    if (value < low) low = value
    if (value > high) high = value
  }
  return [low, high]
}

function edgesOf(values: ArrayLike<number>, options: EdgeOptions, rule: (spread: number) => number): Float64Array {
  if (values.length === 0) return equalEdges(0, 1, 1)
  const [low, high] = rangeOf(values)
  if (low === high) return equalEdges(low - 0.5, high + 0.5, 1)
  const width = rule(high - low)
  if (width === 0) return equalEdges(low, high, 1)
  const used = options.integers === true && width < 1 ? 1 : width
  return equalEdges(low, high, Math.ceil((high - low) / used))
}
