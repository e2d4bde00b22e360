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
import { INFERENCE } from '../../inference/config.ts'
import { createExecutors } from '../../inference/execution/executors.ts'
import { serveVersion } from '../../inference/models/serve-version.ts'
import type { OpenedVersion } from '../../inference/models/version-cache.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { collectSeldom } from '../../infra/runtime/heap.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { answeredAlone, loaded } from './inference/load.ts'
import { DISTINCT_ROWS, type Done, type RunAlone, repeated, runsAlone, saturate } from './inference/measure.ts'
import { type BenchModel, benchModels, OUTPUT, openBare, rowsFor, writeBenchModel } from './inference/models.ts'

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
const WARM_MS = 400
/** A stage runs for days, with code that is compiled: V8 does so after thousands of runs, which are made of single rows here, on a version of its own. */
const COMPILE_MS = 1_500
/** Turns that the runtime alone and the served model take in a round: what slows the machine meets both. */
const SLICES = 10
const LOAD = 0.7
/** A load goes on for so many budgets, for 0.1 s at least: long enough to be steady, short enough for a machine that changes its speed. */
const LOAD_BUDGETS = 10
const LEAST_LOAD_MS = 100
/** A turn had that load when what the model can do, right before and right after, differs by no more. */
const STEADY = 0.1
const KINDS = ['inline', 'process'] as const
type Kind = (typeof KINDS)[number]

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const quantile = (numbers: readonly number[], share: number): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length * share)] ?? 0
const median = (numbers: readonly number[]): number => quantile(numbers, 0.5)

const perCpuSecond = ({ rows, cpuMs }: Pick<Done, 'rows' | 'cpuMs'>): number => (rows * 1_000) / cpuMs

const perSecond = ({ rows, ms }: Pick<Done, 'rows' | 'ms'>): number => (rows * 1_000) / ms

function sum(works: readonly Done[]): Done {
  const of = (what: keyof Done): number => works.reduce((all, work) => all + work[what], 0)
  return { rows: of('rows'), ms: of('ms'), cpuMs: of('cpuMs') }
}

/** The two best, since others may be as good. The sizes take turns: the machine is not equally fast all the time. */
async function bestSizes(bytes: Buffer, model: BenchModel, pool: Float32Array): Promise<readonly number[]> {
  const bare = await openBare(bytes, model, pool)
  const sizes = SIZES.map((size) => ({ size, run: runsAlone(bare), rates: [] as number[] }))
  for (let turn = 0; turn < SWEEPS; turn++) {
    for (const { size, run, rates } of sizes) rates.push(perCpuSecond(await repeated(SWEEP_MS, () => run(size))))
  }
  await bare.release()
  const best = sizes.toSorted((one, other) => median(other.rates) - median(one.rates))
  return best.slice(0, 2).map(({ size }) => size)
}

/** Share of the time that went to runs which took more than 1 / LOAD times as long as the median. */
function slowShare(took: readonly number[]): number {
  const limit = median(took) / LOAD
  const total = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0)
  return total(took.filter((one) => one > limit)) / total(took)
}

async function serve(model: BenchModel, folder: string, kind: Kind) {
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  const choice: CompiledModelChoice = {
    name: model.name,
    alias: 'production',
    directory: folder,
    output: { tensor: OUTPUT, index: 0 },
    budgetMs: model.budgetMs,
    deadlineMs: null,
    provider: { name: 'cpu', demand: 'require' },
    fallback: null,
  }
  let batches = 0
  const observer = { released: () => void batches++, looked() {} }
  const settings = {
    maxRows: Number(INFERENCE.maxRows.fallback),
    maxBytes: 2 ** 23,
    maxLingerMs: 2,
    executor: kind,
    predictionCacheBytes: 0,
  }
  const facts = { manifest: readModelManifest(folder), profiles: [], purpose: 'answers' as const }
  const deps = {
    choice,
    providers: ['cpu'] as const,
    executors,
    settings,
    clock: systemClock,
    logger: silentLogger,
    observer,
  }
  const opened: OpenedVersion = await serveVersion(facts, deps)
  return {
    batcher: opened.version.batcher,
    batches: () => batches,
    async close() {
      await opened.close()
      await executors.close()
    },
  }
}

/** A turn below saturation. */
interface LoadedTurn {
  readonly isSteady: boolean
  /** Of each work, ms: the served model's, and of the runtime alone under the same load. */
  readonly served: readonly number[]
  readonly alone: readonly number[]
}

/** p50 and p99 of a round, over its steady turns; null when there were none. */
function latencyOf(turns: readonly LoadedTurn[]) {
  const steady = turns.filter(({ isSteady }) => isSteady)
  if (steady.length === 0) return null
  const served = steady.flatMap((turn) => turn.served)
  const alone = steady.flatMap((turn) => turn.alone)
  return { p50Ms: quantile(served, 0.5), p99Ms: quantile(served, 0.99), aloneP99Ms: quantile(alone, 0.99) }
}

type Latency = NonNullable<ReturnType<typeof latencyOf>>

async function measure(model: BenchModel, directory: string) {
  const folder = await writeBenchModel(model, directory)
  const pool = rowsFor(model, DISTINCT_ROWS)
  const bytes = readFileSync(join(folder, 'model.onnx'))
  const sizes = await bestSizes(bytes, model, pool)
  const bares = sizes.map((size) => ({ size, rates: [] as number[], took: [] as number[] }))
  /** Of each turn, against each size. */
  const alone: Record<Kind, number[][]> = { inline: [[], []], process: [[], []] }
  /** Of each round. */
  const rows: Record<Kind, { rate: number; perCpu: number }[]> = { inline: [], process: [] }
  const loads: Record<Kind, LoadedTurn[][]> = { inline: [], process: [] }
  const meanBatch: Record<Kind, number[]> = { inline: [], process: [] }
  // sessions are loaded anew for each round: where in memory a forest comes to lie makes a sixth of its speed
  for (let round = 0; round < rounds; round++) {
    for (const kind of KINDS) {
      const bare = await openBare(bytes, model, pool)
      const compiling = await serve(model, folder, kind)
      await saturate(compiling.batcher, pool, COMPILE_MS, 1)
      await compiling.close()
      const served = await serve(model, folder, kind)
      try {
        const runs = bares.map(({ took }) => runsAlone(bare, took))
        const run = runsAlone(bare)
        for (const { size } of bares) await repeated(WARM_MS, () => run(size))
        await saturate(served.batcher, pool, WARM_MS)
        let batches = 0
        const through: Done[] = []
        const turns: LoadedTurn[] = []
        for (let slice = 0; slice < SLICES; slice++) {
          for (const [at, { size, rates }] of bares.entries()) {
            rates.push(perCpuSecond(await repeated(roundMs / SLICES, () => (runs[at] as RunAlone)(size))))
          }
          const batchesBefore = served.batches()
          const before = await saturate(served.batcher, pool, roundMs / SLICES)
          through.push(before)
          batches += served.batches() - batchesBefore
          const load = {
            rowsPerSecond: LOAD * perSecond(before),
            budgetMs: model.budgetMs,
            ms: Math.max(LEAST_LOAD_MS, LOAD_BUDGETS * model.budgetMs),
          }
          const ofServed = await loaded((work) => served.batcher.submit(work), pool, load)
          const ofAlone = await loaded(answeredAlone(run, sizes[0] as number), pool, load)
          const after = await saturate(served.batcher, pool, roundMs / SLICES)
          const isSteady = Math.abs(perSecond(after) / perSecond(before) - 1) <= STEADY
          turns.push({ isSteady, served: ofServed, alone: ofAlone })
        }
        for (const [at, { rates }] of bares.entries()) {
          const before = rates.slice(-SLICES)
          alone[kind][at]?.push(...through.map((work, slice) => perCpuSecond(work) / (before[slice] as number)))
        }
        const total = sum(through)
        rows[kind].push({ rate: perSecond(total), perCpu: perCpuSecond(total) })
        meanBatch[kind].push(Math.round(total.rows / batches))
        loads[kind].push(turns)
      } finally {
        await served.close()
        await bare.release()
      }
    }
  }

  const of = (kind: Kind) => {
    const latencies = loads[kind].map(latencyOf).filter((latency) => latency !== null)
    const turns = loads[kind].flat()
    const medianMs = (what: keyof Latency): number | null =>
      latencies.length === 0 ? null : Number(median(latencies.map((latency) => latency[what])).toFixed(2))
    const p99Ms = medianMs('p99Ms')
    return {
      rowsPerSecond: Math.round(median(rows[kind].map(({ rate }) => rate))),
      rowsPerCpuSecond: Math.round(median(rows[kind].map(({ perCpu }) => perCpu))),
      ofBare: Number(Math.min(...alone[kind].map(median)).toFixed(3)),
      meanBatch: median(meanBatch[kind]),
      p50Ms: medianMs('p50Ms'),
      p99Ms,
      aloneP99Ms: medianMs('aloneP99Ms'),
      /** Over all turns. */
      anyP99Ms: Number(
        quantile(
          turns.flatMap(({ served }) => served),
          0.99,
        ).toFixed(2),
      ),
      steady: turns.filter(({ isSteady }) => isSteady).length / turns.length,
      withinBudget: p99Ms === null ? null : p99Ms <= model.budgetMs,
    }
  }
  const best = bares.reduce((one, other) => (median(other.rates) > median(one.rates) ? other : one))
  const result = {
    budgetMs: model.budgetMs,
    bare: {
      batch: best.size,
      rowsPerCpuSecond: Math.round(median(best.rates)),
      slow: Number(slowShare(best.took).toFixed(3)),
    },
    inline: of('inline'),
    process: of('process'),
  }
  const { rowsPerCpuSecond, slow } = result.bare
  say(
    `${model.name.padEnd(11)} bare ${rowsPerCpuSecond}/CPU s at ${best.size}, slow for ${(100 * slow).toFixed(1)} % of it`,
  )
  for (const kind of KINDS) {
    const { ofBare, rowsPerSecond, p50Ms, p99Ms, aloneP99Ms, anyP99Ms, steady, meanBatch: mean } = result[kind]
    const through = `${(100 * ofBare).toFixed(1)} % of bare, ${rowsPerSecond}/s, batches of ${mean}`
    const under = `p50 ${p50Ms}, p99 ${p99Ms} of ${model.budgetMs} ms, the runtime alone ${aloneP99Ms}`
    say(`  ${kind.padEnd(9)} ${through}; at 70 %: ${under} (${100 * steady} % steady; all ${anyP99Ms})`)
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
