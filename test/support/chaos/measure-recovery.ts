import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createScope } from '../../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../../infra/runtime/telemetry/logger.ts'
import type { LedgerVerdict } from '../ledger/ledger.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { DrivenStage, StageRun } from '../stage-driver.ts'
import { startTestStack } from '../test-stack.ts'
import { deploy } from './deployment.ts'
import { STAGES } from './plan.ts'
import { percentile, watchProgress } from './progress.ts'

export interface RecoveryReport {
  readonly kills: number
  /** From SIGKILL until every lane of the stage moved again, its process being started again at once. */
  readonly recoveryMs: Readonly<
    Record<
      DrivenStage | 'all',
      { readonly p50: number | null; readonly p95: number | null; readonly max: number | null }
    >
  >
  readonly verdict: LedgerVerdict
}

const LOGS = path.resolve(import.meta.dirname, '../../../.millrace/test-logs', `recovery-${process.pid}`)
const LOOK_MS = 50
const EVENTS_A_STEP = 100
const STEP_MS = 50
const CALM_MS = { least: 500, most: 2_500 }
const STARTED_WITHIN_MS = 60_000
const QUIET_MS = 60_000

/** One process of each stage, 2,000 events a second, and one kill after another: each only when all is well again. */
export async function measureRecovery(options: {
  readonly kills: number
  readonly random: SeededRandom
  readonly partitions: number
  /** Null = as the stages have it by default. */
  readonly sessionTimeoutMs: number | null
  readonly say: (line: string) => void
}): Promise<RecoveryReport> {
  const { kills, random, partitions, sessionTimeoutMs, say } = options
  const scope = createScope(silentLogger)
  try {
    const stack = await scope.start('stack', startTestStack)
    const env: Record<string, string> =
      sessionTimeoutMs === null ? {} : { MILLRACE_SESSION_TIMEOUT_MS: String(sessionTimeoutMs) }
    const deployment = await deploy(scope, stack, { partitions, random: random.fork('events'), logDir: LOGS, env, say })
    const { pipeline, admin, driver, feed } = deployment
    const progress = watchProgress(pipeline, admin, LOOK_MS)
    await scope.start('progress', async () => ({ value: null, stop: () => progress.stop() }))
    const feeding = new AbortController()
    const fed = feedSteadily(feed, feeding.signal)
    const runs = Object.fromEntries(STAGES.map((stage) => [stage, driver.start(stage)])) as Record<
      DrivenStage,
      StageRun
    >
    await within(STARTED_WITHIN_MS, Promise.all(STAGES.map((stage) => progress.moved(stage))))

    const measured: { readonly stage: DrivenStage; readonly ms: number }[] = []
    for (let kill = 0; kill < kills; kill++) {
      await delay(random.between(CALM_MS.least, CALM_MS.most))
      const stage = STAGES[kill % STAGES.length] as DrivenStage
      runs[stage].signal('SIGKILL')
      const again = progress.moved(stage)
      await runs[stage].exited
      runs[stage] = driver.start(stage)
      const ms = await within(STARTED_WITHIN_MS, again)
      measured.push({ stage, ms })
      say(`${kill + 1} ${stage}: ${Math.round(ms)} ms`)
    }
    feeding.abort()
    await fed
    await deployment.settled(QUIET_MS)
    await Promise.all(STAGES.map((stage) => runs[stage].stop()))
    const of = (stage: DrivenStage | null) => {
      const values = measured.filter((each) => stage === null || each.stage === stage).map(({ ms }) => Math.round(ms))
      return { p50: percentile(values, 0.5), p95: percentile(values, 0.95), max: percentile(values, 1) }
    }
    return {
      kills,
      recoveryMs: { all: of(null), processors: of('processors'), inference: of('inference'), sinks: of('sinks') },
      verdict: await deployment.ledger(),
    }
  } finally {
    await scope.close()
  }
}

async function feedSteadily(
  feed: { send(count: number, signal: AbortSignal): Promise<void> },
  signal: AbortSignal,
): Promise<void> {
  const never = new AbortController().signal
  while (!signal.aborted) {
    await feed.send(EVENTS_A_STEP, never)
    await delay(STEP_MS)
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const over = new AbortController()
  const late = delay(ms, null, { signal: over.signal }).then(() => {
    throw new Error(`nothing moved for ${ms} ms`)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    over.abort()
    late.catch(() => {})
  }
}
