import { setTimeout as delay } from 'node:timers/promises'
import type { DrivenStage, StageDriver, StageRun } from '../stage-driver.ts'
import { type ChaosPlan, STAGES, type StageFault } from './plan.ts'

export interface FaultRecord {
  readonly stage: DrivenStage
  readonly fault: StageFault
  /** False when the process was killed elsewhere, because it did not come to the point of its order in time. */
  readonly reached: boolean
}

export interface Fleet {
  /** What has happened so far, in order. */
  readonly faults: readonly FaultRecord[]
  /** Processes that ended without being told to, and what they said. */
  readonly unexpected: readonly { readonly stage: DrivenStage; readonly code: number | null; readonly said: string }[]
  /** Processes per stage from now on: those beyond are ended in order. */
  scale(processes: number): void
  /** Nothing more of the plan happens, but what is under way. */
  calm(): void
  /** Resolves when every fault of the plan has happened, or at `calm`; the processes go on without. */
  readonly done: Promise<void>
  stop(): Promise<void>
}

const START_WITHIN_MS = 30_000
const RESTART_MS = 200
/** How much longer than its session a stopped process is away. */
const ZOMBIE_BEYOND_MS = 1_500
/** What a zombie has to do harm, before it is killed for the next fault. */
const ZOMBIE_ACTS_MS = 1_500

/** Keeps the stages running, and lets happen to them what the plan says. */
export function startFleet(options: {
  readonly driver: StageDriver
  readonly plan: ChaosPlan
  readonly sessionTimeoutMs: number
  readonly onFault: (record: FaultRecord) => void
}): Fleet {
  const { driver, plan, sessionTimeoutMs, onFault } = options
  const stopping = new AbortController()
  const queues = {
    processors: [...plan.stages.processors],
    inference: [...plan.stages.inference],
    sinks: [...plan.stages.sinks],
  }
  const planned = STAGES.reduce((sum, stage) => sum + queues[stage].length, 0)
  const faults: FaultRecord[] = []
  const unexpected: { stage: DrivenStage; code: number | null; said: string }[] = []
  const done = Promise.withResolvers<void>()
  if (planned === 0) done.resolve()
  const slots: { readonly leaving: AbortController; readonly ended: Promise<void> }[][] = STAGES.map(() => [])

  function happened(record: FaultRecord): void {
    faults.push(record)
    onFault(record)
    if (faults.length === planned) done.resolve()
  }

  /** One process of a stage after another. */
  async function slot(stage: DrivenStage, leaving: AbortSignal): Promise<void> {
    const queue = queues[stage]
    while (!leaving.aborted) {
      const fault = queue.shift() ?? null
      const run = driver.start(stage, fault?.kind === 'at-point' ? fault.order : null)
      const end = await live(run, fault, leaving)
      if (end === 'faulted') continue
      if (fault !== null) queue.unshift(fault)
      if (end === 'exited') {
        unexpected.push({ stage, code: await run.exited, said: run.lastError ?? '' })
        await delay(RESTART_MS)
      }
    }
  }

  async function live(
    run: StageRun,
    fault: StageFault | null,
    leaving: AbortSignal,
  ): Promise<'faulted' | 'left' | 'exited'> {
    const over = new AbortController()
    const signal = AbortSignal.any([leaving, over.signal])
    const pause = (ms: number): Promise<void> => delay(ms, undefined, { signal }).catch(() => {})
    // from when it works, so that it is not always killed on the way there
    const after = async (ms: number): Promise<void> => {
      await Promise.race([run.started, pause(START_WITHIN_MS)])
      await pause(ms)
    }
    const due: Promise<unknown> =
      fault === null
        ? new Promise(() => {})
        : fault.kind === 'at-point'
          ? Promise.race([run.atPoint, after(plan.atPointWithinMs)])
          : after(fault.afterMs)
    const exited = run.exited.then(() => 'exited' as const)
    const end = await Promise.race([exited, due.then(() => 'due' as const), aborted(leaving)])
    over.abort()
    if (leaving.aborted) {
      await run.stop()
      return 'left'
    }
    if (fault === null || (end === 'exited' && !run.reached)) return 'exited'
    happened({ stage: run.stage, fault, reached: fault.kind !== 'at-point' || run.reached })
    await inflict(run, fault)
    return 'faulted'
  }

  async function inflict(run: StageRun, fault: StageFault): Promise<void> {
    const stopped =
      fault.kind === 'freeze' || (fault.kind === 'at-point' && fault.order.signal === 'STOP' && run.reached)
    if (stopped) {
      await run.freeze(sessionTimeoutMs + ZOMBIE_BEYOND_MS, stopping.signal)
      await Promise.race([run.exited, delay(ZOMBIE_ACTS_MS, undefined, { signal: stopping.signal }).catch(() => {})])
    }
    run.signal('SIGKILL')
    await run.exited
  }

  return {
    faults,
    unexpected,
    done: done.promise,
    scale(processes) {
      for (const [at, stage] of STAGES.entries()) {
        const running = slots[at] ?? []
        for (const { leaving } of running.splice(processes)) leaving.abort()
        while (running.length < processes) {
          const leaving = new AbortController()
          running.push({ leaving, ended: slot(stage, AbortSignal.any([leaving.signal, stopping.signal])) })
        }
      }
    },
    calm() {
      for (const stage of STAGES) queues[stage].length = 0
      done.resolve()
    },
    async stop() {
      stopping.abort()
      await Promise.all(slots.flat().map(({ ended }) => ended))
    },
  }
}

function aborted(signal: AbortSignal): Promise<'left'> {
  if (signal.aborted) return Promise.resolve('left')
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve('left'), { once: true }))
}
