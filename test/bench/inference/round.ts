import { INFERENCE } from '../../../inference/config.ts'
import { createExecutors } from '../../../inference/execution/executors.ts'
import { serveVersion } from '../../../inference/models/serve-version.ts'
import type { OpenedVersion } from '../../../inference/models/version-cache.ts'
import { systemClock } from '../../../infra/runtime/clock.ts'
import { silentLogger } from '../../../infra/runtime/telemetry/logger.ts'
import type { CompiledModelChoice } from '../../../schemas/pipeline/compiled.ts'
import { readModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { answeredAlone, loaded } from './load.ts'
import { type Done, perCpuSecond, perSecond, repeated, runsAlone, saturate } from './measure.ts'
import { type BenchModel, OUTPUT, openBare } from './models.ts'

export const LOAD = 0.7
export type Kind = 'inline' | 'process'

const WARM_MS = 400
/** A stage runs for days, with code that is compiled: V8 does so after thousands of runs, which are made of single rows here, on a version of its own. */
const COMPILE_MS = 1_500
/** Turns that the runtime alone and the served model take in a round: what slows the machine meets both. */
const TURNS = 10
/** A load goes on for so many budgets, for 0.1 s at least: long enough to be steady, short enough for a machine that changes its speed. */
const LOAD_BUDGETS = 10
const LEAST_LOAD_MS = 100
/** A turn had that load when what the model can do, right before and right after, differs by no more. */
const STEADY = 0.1

/** What is measured one behind the other. */
export interface Turn {
  /** Rows per CPU second of the runtime alone, with each of the sizes. */
  readonly bare: readonly number[]
  /** The served model behind it. */
  readonly served: Done
  readonly batches: number
  /** At 70 % of that, what each work took, ms: of the served model, and of the runtime alone, given the same works at the same times. */
  readonly servedMs: readonly number[]
  readonly aloneMs: readonly number[]
  /** Whether that was 70 % all the time, as far as one can tell. */
  readonly isSteady: boolean
}

export interface RoundOptions {
  readonly model: BenchModel
  readonly folder: string
  readonly bytes: Buffer
  readonly pool: Float32Array
  readonly kind: Kind
  /** Of the runtime alone, the best first. */
  readonly sizes: readonly number[]
  readonly roundMs: number
  /** What each run of each size took is added, ms. */
  readonly took: readonly number[][]
}

/** With sessions that are loaded anew: where in memory a forest comes to lie makes a sixth of its speed. */
export async function measureRound(options: RoundOptions): Promise<readonly Turn[]> {
  const { model, folder, bytes, pool, kind, sizes, roundMs, took } = options
  const turnMs = roundMs / TURNS
  const bare = await openBare(bytes, model, pool)
  const compiling = await serve(model, folder, kind)
  await saturate(compiling.batcher, pool, COMPILE_MS, 1)
  await compiling.close()
  const served = await serve(model, folder, kind)
  const { batcher } = served
  const run = runsAlone(bare)
  const answerAlone = answeredAlone(run, sizes[0] as number)

  async function turn(): Promise<Turn> {
    const rates: number[] = []
    for (const [at, size] of sizes.entries()) {
      const timed = runsAlone(bare, took[at])
      rates.push(perCpuSecond(await repeated(turnMs, () => timed(size))))
    }
    const batchesBefore = served.batches()
    const before = await saturate(batcher, pool, turnMs)
    const batches = served.batches() - batchesBefore
    const load = {
      rowsPerSecond: LOAD * perSecond(before),
      budgetMs: model.budgetMs,
      ms: Math.max(LEAST_LOAD_MS, LOAD_BUDGETS * model.budgetMs),
    }
    const servedMs = await loaded((work) => batcher.submit(work), pool, load)
    const aloneMs = await loaded(answerAlone, pool, load)
    const after = await saturate(batcher, pool, turnMs)
    const isSteady = Math.abs(perSecond(after) / perSecond(before) - 1) <= STEADY
    return { bare: rates, served: before, batches, servedMs, aloneMs, isSteady }
  }

  try {
    for (const size of sizes) await repeated(WARM_MS, () => run(size))
    await saturate(batcher, pool, WARM_MS)
    const turns: Turn[] = []
    while (turns.length < TURNS) turns.push(await turn())
    return turns
  } finally {
    await served.close()
    await bare.release()
  }
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
