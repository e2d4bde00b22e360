/**
 * `npm run bench:inference -- [--seconds 1] [--rounds 5] [--only mlp,embedding]`: rows per CPU second of a model that is
 * served, in this process and in a child, through batcher, isolation and executor, against onnxruntime alone at its best
 * batch size in the same run; and p99 at 70 % of the load of the turn before, against the model's budget and against the runtime
 * alone, given the same rows at the same times. They take turns of a tenth of `--seconds`, and their inputs rotate over 16,384
 * distinct rows. CPU is that of this process and of its children. Each turn pays for what it leaves behind. `ofBare` is the
 * median of the turns, each against those of the runtime before it with its two best sizes, and the lower of the two; other
 * figures are medians of the rounds. The last line is one JSON object.
 *
 * A shared machine changes its speed. `slow` is the share of the time in which the runtime alone took 1 / 0.7 times as long as
 * usual, or longer. p99 is that of turns whose load was 70 % all the time, as far as one can tell: right before and right after,
 * the model could do the same, within 10 %. `steady` is their share, `anyP99Ms` is of all turns.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { collectSeldom } from '../../infra/runtime/heap.ts'
import { DISTINCT_ROWS, perCpuSecond, perSecond, repeated, runsAlone } from './inference/measure.ts'
import { type BenchModel, benchModels, openBare, rowsFor, writeBenchModel } from './inference/models.ts'
import { type Kind, LOAD, measureRound, type Turn } from './inference/round.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string', default: '' },
  },
})
const roundMs = Number(values.seconds) * 1_000
const rounds = Number(values.rounds)
if (!(roundMs >= 100 && rounds >= 1)) throw new RangeError('at least 0.1 s and one round')
const only = values.only.split(',').filter(Boolean)

const SIZES = [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192]
const SWEEPS = 15
const SWEEP_MS = 60
const KINDS: readonly Kind[] = ['inline', 'process']

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const quantile = (numbers: readonly number[], share: number): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? 0
const median = (numbers: readonly number[]): number => quantile(numbers, 0.5)
const total = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)
const rounded = (number: number, digits: number): number => Number(number.toFixed(digits))

/** The two best, since others may be as good. The sizes take turns: the machine is not equally fast all the time. */
async function bestSizes(bytes: Buffer, model: BenchModel, pool: Float32Array): Promise<readonly number[]> {
  const bare = await openBare(bytes, model, pool)
  const run = runsAlone(bare)
  const sizes = SIZES.map((size) => ({ size, rates: [] as number[] }))
  for (let turn = 0; turn < SWEEPS; turn++) {
    for (const { size, rates } of sizes) rates.push(perCpuSecond(await repeated(SWEEP_MS, () => run(size))))
  }
  await bare.release()
  const best = sizes.toSorted((one, other) => median(other.rates) - median(one.rates))
  return best.slice(0, 2).map(({ size }) => size)
}

/** Share of the time that went to runs which took more than 1 / LOAD times as long as the median. */
function slowShare(took: readonly number[]): number {
  const limit = median(took) / LOAD
  return total(took.filter((one) => one > limit)) / total(took)
}

/** Of the turns that had their load, ms; null when there were none. */
function latencyOf(turns: readonly Turn[]) {
  const steady = turns.filter(({ isSteady }) => isSteady)
  if (steady.length === 0) return null
  const served = steady.flatMap(({ servedMs }) => servedMs)
  const alone = steady.flatMap(({ aloneMs }) => aloneMs)
  return { p50Ms: quantile(served, 0.5), p99Ms: quantile(served, 0.99), aloneP99Ms: quantile(alone, 0.99) }
}

type Latency = NonNullable<ReturnType<typeof latencyOf>>

/** What a served model did, round by round. */
function figuresOf(byRound: readonly (readonly Turn[])[], sizes: readonly number[], budgetMs: number) {
  const turns = byRound.flat()
  const done = byRound.map((round) => {
    const of = (what: 'rows' | 'ms' | 'cpuMs'): number => total(round.map(({ served }) => served[what]))
    return { rows: of('rows'), ms: of('ms'), cpuMs: of('cpuMs'), batches: total(round.map(({ batches }) => batches)) }
  })
  const shares = sizes.map((_, at) =>
    median(turns.map(({ served, bare }) => perCpuSecond(served) / (bare[at] as number))),
  )
  const latencies = byRound.map(latencyOf).filter((latency) => latency !== null)
  const medianMs = (what: keyof Latency): number | null =>
    latencies.length === 0 ? null : rounded(median(latencies.map((latency) => latency[what])), 2)
  const p99Ms = medianMs('p99Ms')
  return {
    rowsPerSecond: Math.round(median(done.map(perSecond))),
    rowsPerCpuSecond: Math.round(median(done.map(perCpuSecond))),
    ofBare: rounded(Math.min(...shares), 3),
    meanBatch: Math.round(median(done.map(({ rows, batches }) => rows / batches))),
    p50Ms: medianMs('p50Ms'),
    p99Ms,
    aloneP99Ms: medianMs('aloneP99Ms'),
    anyP99Ms: rounded(
      quantile(
        turns.flatMap(({ servedMs }) => servedMs),
        0.99,
      ),
      2,
    ),
    steady: rounded(turns.filter(({ isSteady }) => isSteady).length / turns.length, 2),
    withinBudget: p99Ms === null ? null : p99Ms <= budgetMs,
  }
}

async function measure(model: BenchModel, directory: string) {
  const folder = await writeBenchModel(model, directory)
  const pool = rowsFor(model, DISTINCT_ROWS)
  const bytes = readFileSync(join(folder, 'model.onnx'))
  const sizes = await bestSizes(bytes, model, pool)
  const took: readonly number[][] = sizes.map(() => [])
  const turns: Record<Kind, (readonly Turn[])[]> = { inline: [], process: [] }
  for (let round = 0; round < rounds; round++) {
    for (const kind of KINDS) {
      turns[kind].push(await measureRound({ model, folder, bytes, pool, kind, sizes, roundMs, took }))
    }
  }

  const { budgetMs, name } = model
  const bares = sizes.map((batch, at) => ({
    batch,
    rowsPerCpuSecond: Math.round(
      median([...turns.inline, ...turns.process].flat().map(({ bare }) => bare[at] as number)),
    ),
    slow: rounded(slowShare(took[at] as number[]), 3),
  }))
  const bare = bares.reduce((one, other) => (other.rowsPerCpuSecond > one.rowsPerCpuSecond ? other : one))
  const result = {
    budgetMs,
    bare,
    inline: figuresOf(turns.inline, sizes, budgetMs),
    process: figuresOf(turns.process, sizes, budgetMs),
  }
  const percent = (share: number): string => `${rounded(100 * share, 1)} %`
  say(`${name.padEnd(11)} bare ${bare.rowsPerCpuSecond}/CPU s at ${bare.batch}, slow for ${percent(bare.slow)} of it`)
  for (const kind of KINDS) {
    const { ofBare, rowsPerSecond, meanBatch, p50Ms, p99Ms, aloneP99Ms, anyP99Ms, steady } = result[kind]
    const through = `${percent(ofBare)} of bare, ${rowsPerSecond}/s, batches of ${meanBatch}`
    const under = `p50 ${p50Ms}, p99 ${p99Ms} of ${budgetMs} ms, the runtime alone ${aloneP99Ms}`
    say(`  ${kind.padEnd(9)} ${through}; at 70 %: ${under} (${percent(steady)} steady; all ${anyP99Ms})`)
  }
  return result
}

// as a stage does
collectSeldom()
const directory = mkdtempSync(join(tmpdir(), 'millrace-bench-inference-'))
try {
  const models: Record<string, unknown> = {}
  for (const model of benchModels()) {
    if (only.length === 0 || only.includes(model.name)) models[model.name] = await measure(model, directory)
  }
  say(JSON.stringify({ bar: { ofBare: 0.9, load: LOAD }, models }))
} finally {
  rmSync(directory, { recursive: true, force: true })
}
