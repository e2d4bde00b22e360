import type { ModelProfile } from '../../../schemas/control/models.ts'
import type { ModelSession } from '../model-session.ts'
import { mixedRows } from './sample-rows.ts'

const SIZES = [1, 4, 16, 64, 256, 1_024, 4_096]
/** For each size: at least so many runs, then until the time is up. */
const FEWEST_RUNS = 5
const TIME_MS = 120
const MOST_RUNS = 2_000
const WARM_UP_RUNS = 3
/** So many runs have a 99th percentile. */
const TAIL_RUNS = 100
/** Of a model whose every run is long. */
const DEFAULT_TAIL = 1.5

interface Sample {
  readonly rows: number
  /** Median and 99th percentile of a run, µs. */
  readonly medianUs: number
  readonly p99Us: number
  readonly runs: number
}

/**
 * Times runs of several sizes up to `most` rows, on rows that differ, and fits L(n) = a + b·n to their medians by least
 * squares of the relative error. Takes about a second, more for a slow model.
 */
export async function measureProfile(
  session: ModelSession,
  provider: ModelProfile['provider'],
  most: number,
): Promise<ModelProfile> {
  const width = session.manifest.input.features.length
  const sizes = SIZES.filter((size) => size <= most)
  const rows = mixedRows(session.manifest, (sizes.at(-1) as number) * 2)
  const samples: Sample[] = []
  for (const count of sizes) {
    samples.push(await timeRuns(session, rows, count * width, provider === 'cpu' ? processorUs : wallUs))
  }
  const { fixedUs, rowUs } = fitCost(samples)
  return { provider, fixedUs, rowUs, tail: tailOf(samples) }
}

/** Processor time: what neighbours take from the machine is not the model's cost. */
function processorUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

const wallUs = (): number => performance.now() * 1_000

async function timeRuns(
  session: ModelSession,
  rows: Float32Array,
  length: number,
  nowUs: () => number,
): Promise<Sample> {
  const width = session.manifest.input.features.length
  let from = 0
  const next = (): Float32Array => {
    if (from + length > rows.length) from = 0
    const batch = rows.subarray(from, from + length)
    from += length
    return batch
  }
  for (let run = 0; run < WARM_UP_RUNS; run++) await session.run(next())
  const times: number[] = []
  const end = performance.now() + TIME_MS
  while (times.length < FEWEST_RUNS || (performance.now() < end && times.length < MOST_RUNS)) {
    const batch = next()
    const start = nowUs()
    await session.run(batch)
    times.push(nowUs() - start)
  }
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0
  return { rows: length / width, medianUs: at(0.5), p99Us: at(0.99), runs: times.length }
}

/** Weighted by 1/t², so that a microsecond of a short run counts as much as it is of it. Neither is below 0. */
export function fitCost(samples: readonly Pick<Sample, 'rows' | 'medianUs'>[]): {
  readonly fixedUs: number
  readonly rowUs: number
} {
  let [w, x, y, xx, xy] = [0, 0, 0, 0, 0]
  for (const { rows, medianUs } of samples) {
    const weight = 1 / medianUs ** 2
    w += weight
    x += weight * rows
    y += weight * medianUs
    xx += weight * rows * rows
    xy += weight * rows * medianUs
  }
  const spread = w * xx - x * x
  const slope = spread === 0 ? 0 : (w * xy - x * y) / spread
  const rowUs = Math.max(0, slope)
  const fixedUs = Math.max(0, (y - rowUs * x) / w)
  // without a fixed cost the line goes through the origin
  return { fixedUs: rounded(fixedUs), rowUs: rounded(fixedUs > 0 ? rowUs : xy / xx) }
}

/** The smallest p99 over p50 of the sizes with runs enough: the others tell of the neighbours on the machine. */
function tailOf(samples: readonly Sample[]): number {
  const tails = samples.flatMap(({ runs, medianUs, p99Us }) => (runs >= TAIL_RUNS ? p99Us / medianUs : []))
  return tails.length === 0 ? DEFAULT_TAIL : rounded(Math.max(1, Math.min(...tails)))
}

/** Three digits are more than the clock gives. */
function rounded(value: number): number {
  return Number(value.toPrecision(3))
}
