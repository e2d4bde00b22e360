/**
 * What the prediction cache costs per row, ns: a row that it has, one that it has not and keeps from then on, and the same
 * rows without a cache, each beside a model that costs nothing. Rows are in batches of 256, as many as fit a cache of
 * 64 MiB; `node --conditions=millrace-source infra/bench/prediction-cache.ts`. The last line is one JSON object.
 */
import { loadStageModule } from '../cli/stage-module.ts'

type Run = (rows: Float32Array) => Promise<unknown>
type CachedRows = (options: {
  readonly run: Run
  readonly width: number
  readonly outputWidth: number
  readonly maxBytes: number
  readonly observer: { looked(): void }
}) => Run

const WIDTHS = [8, 30, 100]
const OUTPUTS = 2
const BATCH = 256
const ROUNDS = 7
const MAX_BYTES = 64 * 1_048_576

const { cachedRows } = await loadStageModule<{ cachedRows: CachedRows }>(
  'inference/models/prediction-cache/cached-rows',
)

const answer = {
  outputs: new Float32Array(BATCH * OUTPUTS),
  batchRows: new Int32Array(BATCH).fill(BATCH),
  failures: new Map(),
  provider: 'cpu',
}
const nothing: Run = async () => answer

function batchesOf(width: number): readonly Float32Array[] {
  let state = 1
  const count = Math.floor(MAX_BYTES / (4 * (width + OUTPUTS + 2) + 2) / 2 / BATCH)
  return Array.from({ length: count }, () =>
    Float32Array.from({ length: BATCH * width }, () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      return (state >>> 20) / 4
    }),
  )
}

async function nsPerRow(run: Run, batches: readonly Float32Array[]): Promise<number> {
  const before = process.cpuUsage()
  for (const rows of batches) await run(rows)
  const { user, system } = process.cpuUsage(before)
  return ((user + system) * 1_000) / (batches.length * BATCH)
}

const median = (values: readonly number[]): number =>
  Math.round(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN)

const results = []
for (const width of WIDTHS) {
  const batches = batchesOf(width)
  const figures = { none: [] as number[], miss: [] as number[], hit: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    const observer = { looked() {} }
    const run = cachedRows({ run: nothing, width, outputWidth: OUTPUTS, maxBytes: MAX_BYTES, observer })
    figures.none.push(await nsPerRow(nothing, batches))
    figures.miss.push(await nsPerRow(run, batches))
    figures.hit.push(await nsPerRow(run, batches))
  }
  const result = {
    width,
    rows: batches.length * BATCH,
    hitNs: median(figures.hit) - median(figures.none),
    missNs: median(figures.miss) - median(figures.none),
  }
  results.push(result)
  process.stdout.write(
    `${width} features, ${result.rows} rows: hit ${result.hitNs} ns, miss ${result.missNs} ns per row\n`,
  )
}
process.stdout.write(`${JSON.stringify({ batch: BATCH, maxBytes: MAX_BYTES, results })}\n`)
