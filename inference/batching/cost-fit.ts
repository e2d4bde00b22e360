import type { ModelProfile } from '../../schemas/control/models.ts'

/** What a run costs, L(n) = fixedMs + rowMs · n, learned from the runs themselves. */
export interface CostFit {
  /** a: ms of a run, however many rows. Above 0. */
  readonly fixedMs: number
  /** b: ms of a row. Above 0. */
  readonly rowMs: number
  /** q: p99 / p50 of what runs took, measured by what they should have taken. At least 1. */
  readonly tail: number
  predictMs(rows: number): number
  /** A run of so many rows took so long. Allocates nothing. */
  observe(rows: number, ms: number): void
}

/** Nothing reaches the runtime for less (an empty model takes 5 to 8 µs), no row is read for less. */
const LEAST_FIXED_MS = 1e-3
const LEAST_ROW_MS = 1e-6

/** Before anything is known: the shape of a small network. The first run sets the level, others the shape. */
const UNKNOWN: ModelProfile = { provider: 'cpu', fixedUs: 20, rowUs: 1, tail: 1.5 }

/** A sample counts as at most so many times what was predicted: a pause of the machine is not the model. */
const CLIP = 3
/** Noise of one run, relative to its prediction. */
const NOISE = 0.2
/** How far a and b are trusted at first, relative: what is assumed, and what probation measured (elsewhere). */
const UNSURE = 1
const MEASURED = 0.2
/**
 * a / b stays below so many times what was measured apart: where others keep the thread or the processor busy, their time
 * counts as a, and batches would grow to thousands of rows for nothing.
 */
const MOST_SHAPE = 4
/** A measured a below this may as well have been this, ms: clocks and noise. */
const LEAST_BOUND_MS = 0.02
/** A run forgets so much: of the level (another clock rate, a busy neighbour) and of the shape. */
const LEVEL_DRIFT = 0.006
const SHAPE_DRIFT = 0.003

/** Ratios that q is read from; a p99 takes a hundred. */
const WINDOW = 512
const ENOUGH = 100
const TAIL_EVERY = 64
const WORST_TAIL = 5

/**
 * Recursive least squares with weights 1 / L(n)² and exponential forgetting, written as a Kalman filter whose state is
 * (a, b): forgetting is added to the covariance, in proportion to a and b themselves, so that runs that all have the same
 * size move the level and leave the shape as it was (plain forgetting would let the shape follow the noise). Cost is affine
 * within 2 to 17 % over the sizes that a batch has. Of a profile whose shape is not known (runs of one size were measured)
 * only the level counts.
 */
export function createCostFit(profile: ModelProfile | null, isShapeKnown = profile !== null): CostFit {
  const start = profile ?? UNKNOWN
  const isMeasured = isShapeKnown && start.rowUs > 0
  let a = Math.max(start.fixedUs / 1_000, LEAST_FIXED_MS)
  // rows that seemed to cost nothing: what costs too much at first is found out soon, what costs too little is not
  let b = Math.max(start.rowUs > 0 ? start.rowUs / 1_000 : (a * UNKNOWN.rowUs) / UNKNOWN.fixedUs, LEAST_ROW_MS)
  const trust = isMeasured ? MEASURED : UNSURE
  let scaled = profile !== null
  const mostShape = isMeasured ? (MOST_SHAPE * Math.max(a, LEAST_BOUND_MS)) / b : Number.POSITIVE_INFINITY
  /** Covariance of (a, b). */
  let paa = (trust * a) ** 2
  let pab = 0
  let pbb = (trust * b) ** 2

  let tail = Math.min(Math.max(start.tail, 1), WORST_TAIL)
  const ratios = new Float64Array(WINDOW)
  const sorted = new Float64Array(WINDOW)
  let samples = 0

  function readTail(): void {
    const length = Math.min(samples, WINDOW)
    sorted.fill(Number.POSITIVE_INFINITY)
    for (let at = 0; at < length; at++) sorted[at] = ratios[at] as number
    sorted.sort()
    const median = sorted[length >> 1] as number
    const p99 = sorted[Math.ceil(length * 0.99) - 1] as number
    tail = Math.min(Math.max(p99 / median, 1), WORST_TAIL)
  }

  /** The first run of an unknown model: a and b in the assumed proportion. */
  function scale(factor: number): void {
    a *= factor
    b *= factor
    paa *= factor ** 2
    pbb *= factor ** 2
    scaled = true
  }

  function learn(rows: number, ms: number): void {
    paa = Math.min(paa + (LEVEL_DRIFT ** 2 + SHAPE_DRIFT ** 2) * a * a, (UNSURE * a) ** 2)
    pbb = Math.min(pbb + (LEVEL_DRIFT ** 2 + SHAPE_DRIFT ** 2) * b * b, (UNSURE * b) ** 2)
    pab += LEVEL_DRIFT ** 2 * a * b
    const predicted = a + b * rows
    const fixedPart = paa + pab * rows
    const rowPart = pab + pbb * rows
    const spread = fixedPart + rowPart * rows + (NOISE * predicted) ** 2
    const error = Math.min(ms, CLIP * predicted) - predicted
    // one run cannot say that the other part costs nothing
    a = Math.max(a + (fixedPart / spread) * error, a / 2, LEAST_FIXED_MS)
    b = Math.max(b + (rowPart / spread) * error, b / 2, LEAST_ROW_MS)
    a = Math.min(a, mostShape * b)
    // neither rounding nor certainty may make it something that is no covariance
    paa = Math.max(paa - fixedPart ** 2 / spread, (SHAPE_DRIFT * a) ** 2)
    pbb = Math.max(pbb - rowPart ** 2 / spread, (SHAPE_DRIFT * b) ** 2)
    pab -= (fixedPart * rowPart) / spread
    const bound = 0.999 * Math.sqrt(paa * pbb)
    pab = Math.min(Math.max(pab, -bound), bound)
  }

  return {
    get fixedMs() {
      return a
    },
    get rowMs() {
      return b
    },
    get tail() {
      return tail
    },
    predictMs: (rows) => a + b * rows,
    observe(rows, ms) {
      if (!(rows > 0 && ms > 0 && Number.isFinite(ms))) return
      if (!scaled) scale(ms / (a + b * rows))
      ratios[samples % WINDOW] = ms / (a + b * rows)
      samples++
      learn(rows, ms)
      if (samples >= ENOUGH && samples % TAIL_EVERY === 0) readTail()
    },
  }
}
