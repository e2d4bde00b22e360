import path from 'node:path'
import { commandConnections, logConnections } from '../../../infra/cli/connections.ts'
import type { Stack } from '../../../infra/local/stack.ts'
import { createScope } from '../../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../../infra/runtime/telemetry/logger.ts'
import { listModelVersions, readModelManifest } from '../../../schemas/pipeline/manifest.ts'
import { stageTopic } from '../../../schemas/topics.ts'
import { type Deployment, deploy } from '../chaos/deployment.ts'
import { STAGES } from '../chaos/plan.ts'
import { percentile } from '../chaos/progress.ts'
import type { LedgerVerdict } from '../ledger/ledger.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { StageRun } from '../stage-driver.ts'
import { type AnswersVerdict, checkAnswers } from './answers.ts'
import { type Quantiles, quantiles, startLoad, watchMemory } from './measures.ts'
import { openControlLog, registerVersions } from './registered.ts'
import { type Failure, type Phase, type SwapPlan, swapAll } from './swap-all.ts'
import { type SwapVersions, writeVersions } from './versions.ts'

export interface SwapsOptions extends SwapPlan {
  readonly stack: Pick<Stack, 'env' | 'supervisor'>
  /** The flights pipeline, or a copy of it. */
  readonly folder: string
  /** For versions, store and cache; whoever asks removes it. */
  readonly scratch: string
  /** Good versions, which serve in turn. */
  readonly versions: number
  /** Events a second. */
  readonly rate: number
  readonly partitions: number
  readonly executor: 'auto' | 'inline' | 'process'
  readonly random: SeededRandom
  readonly logDir: string
  readonly say: (line: string) => void
}

export interface SwapsReport {
  readonly activated: number
  /** By what they failed of: refused by probation, or stalled because no process could load it. */
  readonly failed: Readonly<Record<Failure, number>>
  /** Promotions that ended otherwise than they had to. */
  readonly unexpected: readonly string[]
  /** From the proposal until it was known to be in force. */
  readonly swapMs: Quantiles
  /** From the append of an event to the append of its prediction, ms. */
  readonly latencyMs: { readonly quiet: Quantiles; readonly swapping: Quantiles }
  /** Medians over the phases of each kind, which a machine that stands still for a while does not change. */
  readonly phaseP99Ms: { readonly quiet: number | null; readonly swapping: number | null }
  /** Resident memory of inference and its children, MiB: medians of five stretches of time, one as long as the other, from when every version has served. */
  readonly residentMb: readonly number[]
  readonly settled: boolean
  readonly ledger: LedgerVerdict
  readonly answers: AnswersVerdict
  /** Nothing lost, doubled, mixed or mistaken, and no answer of a version that must fail. */
  readonly exact: boolean
}

const QUIET_MS = 60_000
/** Least that is allowed: a version that is not in use has to make room. */
const MODELS_MEMORY_MB = 16

/** Swaps versions under load on the flights pipeline, then accounts for every event and every answer. */
export async function runSwaps(options: SwapsOptions): Promise<SwapsReport> {
  const { stack, folder, scratch, partitions, random, logDir, say } = options
  const scope = createScope(silentLogger)
  try {
    const store = path.join(scratch, 'store')
    const deployment = await deploy(scope, stack, {
      ...{ folder, partitions, logDir, say },
      random: random.fork('events'),
      env: {
        MILLRACE_MODEL_STORE: store,
        MILLRACE_MODEL_CACHE: path.join(scratch, 'cache'),
        MILLRACE_INFERENCE_MODELS_MEMORY_MB: String(MODELS_MEMORY_MB),
        MILLRACE_INFERENCE_EXECUTOR: options.executor,
      },
    })
    const { pipeline, driver } = deployment
    const versions = await writeVersions(
      pipeline,
      path.join(scratch, 'versions'),
      options.versions,
      random.fork('models'),
    )
    const control = await openControlLog(scope, stack.env)
    await registerVersions(control, pipeline.folder, versions, store)
    const runs = STAGES.map((stage) => driver.start(stage))
    await Promise.all(runs.map(({ started }) => started))
    const load = startLoad(deployment.feed, options.rate)
    const inference = runs.find(({ stage }) => stage === 'inference') as StageRun
    const memory = watchMemory(inference.pid)
    const swapping = swapAll(options, { pipeline, control, versions, store, began: memory.begin, say }).finally(
      load.stop,
    )
    const died = Promise.race(
      runs.map(async (run) => {
        const code = await run.exited
        throw new Error(`${run.stage} ended with ${code}: ${run.lastError} (${run.logFile})`)
      }),
    )
    // in the end they exit because they are told to
    died.catch(() => {})
    const swapped = await Promise.race([swapping, died])
    await load.stop()
    const residentMb = await memory.stop()
    const settled = await deployment.settled(QUIET_MS)
    await Promise.all(runs.map((run) => run.stop()))
    say('reading everything again')
    const ledger = await deployment.ledger()
    const { answers, ...latencies } = await judge(options, deployment, versions, swapped.phases)
    const { strange, mistaken, mixed } = answers
    const served = Object.keys(answers.versions)
    const isExact = settled && ledger.exact && strange + mistaken + mixed === 0 && swapped.unexpected.length === 0
    const failed = [versions.wrong, versions.damaged, versions.refused].some(({ version }) => served.includes(version))
    const { activated, unexpected, failures, swapMs } = swapped
    return {
      ...{ activated, failed: failures, unexpected, swapMs: quantiles(swapMs), ...latencies, residentMb, settled },
      ...{ ledger, answers },
      // of each lane, no version comes back but by a swap
      exact: isExact && !failed && answers.mostChanges <= activated,
    }
  } finally {
    await scope.close()
  }
}

async function judge(
  { stack, partitions }: SwapsOptions,
  { pipeline }: Deployment,
  { good }: SwapVersions,
  phases: readonly Phase[],
): Promise<Pick<SwapsReport, 'answers' | 'latencyMs' | 'phaseP99Ms'>> {
  const { connections, reader } = logConnections(commandConnections({ ...process.env, ...stack.env }).settings)
  const measured = phases.map((phase) => ({ ...phase, ms: [] as number[] }))
  try {
    const bundled = listModelVersions(pipeline.model.directory).map(readModelManifest)
    const topic = { name: stageTopic(pipeline.name, 'predictions'), partitions }
    const answers = await checkAnswers(reader, topic, [...bundled, ...good], (eventAt, predictedAt) => {
      measured.find(({ from, to }) => eventAt >= from && eventAt < to)?.ms.push(predictedAt - eventAt)
    })
    const of = (kind: Phase['kind']) => measured.filter((phase) => phase.kind === kind).map(({ ms }) => ms)
    const all = (kind: Phase['kind']) => quantiles(of(kind).flat())
    const typical = (kind: Phase['kind']) => quantiles(of(kind).flatMap((ms) => percentile(ms, 0.99) ?? [])).p50
    return {
      answers,
      latencyMs: { quiet: all('quiet'), swapping: all('swapping') },
      phaseP99Ms: { quiet: typical('quiet'), swapping: typical('swapping') },
    }
  } finally {
    await connections.close()
  }
}
