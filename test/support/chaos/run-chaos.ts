import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Stack } from '../../../infra/local/stack.ts'
import { createScope } from '../../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../eventually.ts'
import type { LedgerVerdict } from '../ledger/ledger.ts'
import type { SeededRandom } from '../seeded-random.ts'
import { startTestStack } from '../test-stack.ts'
import { type Deployment, deploy } from './deployment.ts'
import { type FaultRecord, type Fleet, startFleet } from './fleet.ts'
import type { ChaosPlan, ComponentFault } from './plan.ts'
import { percentile, watchProgress } from './progress.ts'

export interface ChaosOptions {
  readonly plan: ChaosPlan
  readonly events: number
  readonly random: SeededRandom
  readonly partitions: number
  readonly sessionTimeoutMs: number
  /** The faults that are planned after that do not happen. */
  readonly maxMinutes: number
  readonly say: (line: string) => void
}

export interface ChaosReport {
  readonly verdict: LedgerVerdict
  /** Every event ended before the time for it was over. */
  readonly settled: boolean
  readonly faults: readonly FaultRecord[]
  readonly components: readonly ComponentFault[]
  readonly unexpected: Fleet['unexpected']
  /** From a fault of a stage until every lane of it moved again, while other faults happen. */
  readonly recoveryMs: {
    readonly count: number
    readonly p50: number | null
    readonly p95: number | null
    readonly max: number | null
  }
  readonly seconds: number
}

/** Of the stages, until the next run of tests. */
const LOGS = path.resolve(import.meta.dirname, '../../../.millrace/test-logs', `chaos-${process.pid}`)
/** So that inference has something to do, however soon processors are killed. */
const FIRST_EVENTS = 2_000
const FEED_STEP = 500
const FIRST_PACE_MS = 5_000
const FEED_PAUSE_MS = 100
const TRICKLE = 20
const LOOK_MS = 250
const QUIET_MS = 180_000
const COMPONENT_WITHIN_MS = 120_000

/** Runs the plan on a stack of its own, waits until everything has ended, and keeps the ledger. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { plan, events, random, partitions, sessionTimeoutMs, say } = options
  const since = performance.now()
  const scope = createScope(silentLogger)
  try {
    const stack = await scope.start('stack', startTestStack)
    const deployment = await deploy(scope, stack, {
      partitions,
      random: random.fork('events'),
      logDir: LOGS,
      env: {
        MILLRACE_SESSION_TIMEOUT_MS: String(sessionTimeoutMs),
      },
      say,
    })
    const { admin, driver, feed, pipeline } = deployment
    const progress = watchProgress(pipeline, admin, LOOK_MS)
    await scope.start('progress', async () => ({ value: null, stop: () => progress.stop() }))
    say('first features')
    const processors = driver.start('processors')
    const moved = progress.moved('processors')
    await feed.send(FIRST_EVENTS, new AbortController().signal)
    await moved
    await processors.stop()
    const recoveries: number[] = []
    const fleet = startFleet({
      driver,
      plan,
      sessionTimeoutMs,
      onFault: (record) => {
        say(`${fleet.faults.length} ${record.stage}: ${textOf(record)}`)
        void progress.moved(record.stage).then((ms) => recoveries.push(ms))
        for (const { after, processes } of plan.scale) if (after === fleet.faults.length) fleet.scale(processes)
      },
    })
    await scope.start('fleet', async () => ({ value: null, stop: () => fleet.stop() }))
    fleet.scale(plan.scale[0]?.processes ?? 1)

    const faulting = new AbortController()
    const broken = breakComponents(stack, plan, fleet, faulting.signal, say)
    const limit = delay(options.maxMinutes * 60_000, undefined, { signal: faulting.signal }).catch(() => {})
    const feeding = feedAlong(deployment, fleet, { plan, events, signal: faulting.signal })
    await Promise.race([fleet.done, limit])
    fleet.calm()
    faulting.abort()
    const components = await broken
    await feeding
    say(`all faults have happened and ${feed.sent} events are sent: waiting for their ends`)
    const settled = await deployment.settled(QUIET_MS)
    await fleet.stop()
    const verdict = await deployment.ledger()
    return {
      verdict,
      settled,
      faults: fleet.faults,
      components,
      unexpected: fleet.unexpected,
      recoveryMs: {
        count: recoveries.length,
        p50: percentile(recoveries, 0.5),
        p95: percentile(recoveries, 0.95),
        max: percentile(recoveries, 1),
      },
      seconds: Math.round((performance.now() - since) / 1_000),
    }
  } finally {
    await scope.close()
  }
}

/** Sends the events in step with the faults. While the plan lasts, there is always something to do: a few more when all are sent. */
async function feedAlong(
  { feed }: Deployment,
  fleet: Fleet,
  { plan, events, signal }: { readonly plan: ChaosPlan; readonly events: number; readonly signal: AbortSignal },
): Promise<void> {
  const planned = Object.values(plan.stages).reduce((sum, faults) => sum + faults.length, 0)
  const never = new AbortController().signal
  const since = performance.now()
  let done = 0
  let lastAt = since
  while (!signal.aborted) {
    const now = performance.now()
    if (fleet.faults.length > done) lastAt = now
    done = fleet.faults.length
    const paceMs = done === 0 ? FIRST_PACE_MS : (lastAt - since) / done
    const due = (events * (done + Math.min(1, (now - lastAt) / paceMs))) / Math.max(1, planned)
    await feed.send(feed.sent < due ? Math.min(FEED_STEP, events - feed.sent) : TRICKLE, never)
    if (feed.sent >= due) await delay(FEED_PAUSE_MS)
  }
  await feed.send(Math.max(0, events - feed.sent), never)
}

/** Resolves with what was broken once the signal aborts, when everything answers again. */
async function breakComponents(
  stack: Stack,
  plan: ChaosPlan,
  fleet: Fleet,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<readonly ComponentFault[]> {
  const broken: ComponentFault[] = []
  for (const { after, fault } of plan.components) {
    while (!signal.aborted && fleet.faults.length < after) await delay(LOOK_MS, undefined, { signal }).catch(() => {})
    // one that is due happens, also when the last fault of a stage has come meanwhile
    if (fleet.faults.length < after) break
    say(`  ${fault}`)
    await breakComponent(stack, fault)
    broken.push(fault)
  }
  return broken
}

async function breakComponent(stack: Stack, fault: ComponentFault): Promise<void> {
  const name = fault === 'clickhouse-kill' ? 'clickhouse' : 'kafka'
  const component = stack.component(name)
  if (component === undefined) throw new Error(`${name} is not part of the stack`)
  if (fault === 'kafka-restart') {
    await component.stop()
    component.start()
  } else {
    const { restarts } = component
    component.kill('SIGKILL')
    await eventually(
      () => {
        if (component.restarts === restarts) throw new Error(`${name} has not died`)
      },
      { deadlineMs: COMPONENT_WITHIN_MS },
    )
  }
  await stack.ready(name)
}

function textOf({ fault, reached }: FaultRecord): string {
  if (fault.kind !== 'at-point') return `${fault.kind} after ${fault.afterMs} ms`
  const { point, nth, signal } = fault.order
  return `${signal} ${point}:${nth}${reached ? '' : ', not reached: killed elsewhere'}`
}
