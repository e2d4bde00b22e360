import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promote } from '../../../inference/commands/rollout-promote.ts'
import { waitForVerdict } from '../../../inference/commands/rollout-wait.ts'
import { commandConnections, logConnections } from '../../../infra/cli/connections.ts'
import type { Stack } from '../../../infra/local/stack.ts'
import { systemClock } from '../../../infra/runtime/clock.ts'
import type { ControlLog } from '../../../infra/runtime/control/control-log.ts'
import { describeError } from '../../../infra/runtime/errors.ts'
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
import { BY, openControlLog, pushVersion, registerVersions } from './registered.ts'
import { residentMb } from './resident.ts'
import { type SwapVersions, writeVersions } from './versions.ts'

export interface SwapsOptions {
  readonly stack: Pick<Stack, 'env' | 'supervisor'>
  /** The flights pipeline, or a copy of it. */
  readonly folder: string
  /** For versions, store and cache; whoever asks removes it. */
  readonly scratch: string
  readonly swaps: number
  /** Every so many swaps is one that must fail. */
  readonly failEvery: number
  /** Good versions, which serve in turn. */
  readonly versions: number
  /** Events a second. */
  readonly rate: number
  /** So many swaps, then no swap for so long. */
  readonly round: { readonly swaps: number; readonly quietMs: number }
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

interface Quantiles {
  readonly count: number
  readonly p50: number | null
  readonly p99: number | null
  readonly max: number | null
}

type Failure = 'refused' | 'damaged' | 'wrong'
const FAILURES: readonly Failure[] = ['refused', 'damaged', 'wrong']

const STEP_MS = 20
const SAMPLE_MS = 1_000
const STRETCHES = 5
const DEADLINE_MS = 30_000
/** Of what cannot be loaded. */
const FAILING_DEADLINE_MS = 1_000
const QUIET_MS = 60_000
/** Of a phase, until what was before it is over. */
const EDGE_MS = 500
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
    const load = startLoad(deployment, options.rate)
    const inference = runs.find(({ stage }) => stage === 'inference') as StageRun
    const memory = watchMemory(inference.pid)
    const swapping = swapAll(options, { deployment, control, versions, store, memory }).finally(load.stop)
    const died = Promise.race(
      runs.map(async ({ stage, exited, lastError, logFile }) => {
        const code = await exited
        throw new Error(`${stage} ended with ${code}: ${lastError} (${logFile})`)
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

/** Epoch ms. */
interface Phase {
  readonly kind: 'quiet' | 'swapping'
  readonly from: number
  readonly to: number
}

interface Swapped {
  readonly activated: number
  readonly failures: Record<Failure, number>
  readonly unexpected: readonly string[]
  readonly swapMs: readonly number[]
  readonly phases: readonly Phase[]
}

async function swapAll(
  { swaps, failEvery, round, say, folder }: SwapsOptions,
  run: {
    readonly deployment: Deployment
    readonly control: ControlLog
    readonly versions: SwapVersions
    readonly store: string
    readonly memory: { begin(): void }
  },
): Promise<Swapped> {
  const { deployment, control, versions, store, memory } = run
  const { good, wrong, damaged, refused } = versions
  const model = deployment.pipeline.model.name
  const failures = { refused: 0, damaged: 0, wrong: 0 }
  const unexpected: string[] = []
  const swapMs: number[] = []
  const phases: Phase[] = []
  let activated = 0

  async function propose(version: string, deadlineMs: number): Promise<string> {
    const terms = { model, version, role: { as: 'production' }, deadlineMs, guarded: true, bundled: false } as const
    const epoch = await promote(control, { ...terms, ...BY }, Date.now())
    return (await waitForVerdict(control, model, epoch, systemClock, BY)).end
  }

  async function swapIn(version: string): Promise<void> {
    const since = performance.now()
    const end = await propose(version, DEADLINE_MS)
    if (end !== 'activated') unexpected.push(`${version}: ${end}`)
    activated++
    swapMs.push(performance.now() - since)
  }

  /** Each way of failing in turn. */
  async function fail(failure: Failure): Promise<void> {
    failures[failure]++
    if (failure !== 'refused') {
      const end = await propose(failure === 'wrong' ? wrong.version : damaged.version, FAILING_DEADLINE_MS)
      if (end !== 'stalled') unexpected.push(`${failure}: ${end}`)
      return
    }
    const attempts = [() => pushVersion(control, folder, refused.folder, store), () => propose(refused.version, 0)]
    for (const attempt of attempts) {
      const code = await attempt().then(
        () => 'nothing',
        (error: unknown) => describeError(error).code,
      )
      if (code !== 'model_refused' && code !== 'unknown_version') unexpected.push(`${failure}: ${code}`)
    }
  }

  async function phase(kind: Phase['kind'], work: () => Promise<unknown>): Promise<void> {
    const from = Date.now() + EDGE_MS
    await work()
    phases.push({ kind, from, to: Date.now() })
  }

  // each version once, so that everything has been loaded before
  for (const { version } of good) await swapIn(version)
  swapMs.length = 0
  memory.begin()
  for (let swap = 0; swap < swaps; ) {
    await phase('quiet', () => delay(round.quietMs))
    await phase('swapping', async () => {
      for (const end = Math.min(swaps, swap + round.swaps); swap < end; swap++) {
        const isFailing = swap % failEvery === failEvery - 1
        if (isFailing) await fail(FAILURES[Math.floor(swap / failEvery) % FAILURES.length] as Failure)
        else await swapIn((good[activated % good.length] as (typeof good)[number]).version)
      }
    })
    say(`${swap} swaps: ${activated} activated, ${JSON.stringify(failures)} failed; ${deployment.feed.sent} events`)
  }
  await phase('quiet', () => delay(round.quietMs))
  return { activated, failures, unexpected, swapMs, phases }
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

/** So many events a second, in small steps. */
function startLoad({ feed }: Deployment, rate: number): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const never = new AbortController().signal
  const feeding = (async () => {
    const since = performance.now()
    const before = feed.sent
    while (!stopping.signal.aborted) {
      const due = before + (rate * (performance.now() - since)) / 1_000
      if (feed.sent < due) await feed.send(Math.ceil(due - feed.sent), never)
      await delay(STEP_MS)
    }
  })()
  return {
    stop() {
      stopping.abort()
      return feeding
    },
  }
}

function watchMemory(pid: number): { begin(): void; stop(): Promise<SwapsReport['residentMb']> } {
  const stopping = new AbortController()
  const samples: number[] = []
  const sampling = (async () => {
    while (!stopping.signal.aborted) {
      samples.push(await residentMb(pid))
      await delay(SAMPLE_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()
  return {
    begin() {
      samples.length = 0
    },
    async stop() {
      stopping.abort()
      await sampling
      const length = samples.length / STRETCHES
      const stretch = (at: number): readonly number[] => samples.slice(at * length, (at + 1) * length)
      return Array.from({ length: STRETCHES }, (_, at) => Math.round(percentile(stretch(at), 0.5) ?? 0))
    },
  }
}

function quantiles(values: readonly number[]): Quantiles {
  const rounded = (share: number): number | null => {
    const value = percentile(values, share)
    return value === null ? null : Math.round(value)
  }
  return { count: values.length, p50: rounded(0.5), p99: rounded(0.99), max: rounded(1) }
}
