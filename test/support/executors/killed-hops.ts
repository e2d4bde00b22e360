import { setTimeout as delay } from 'node:timers/promises'
import type { Supervisor } from '../../../infra/local/supervisor.ts'
import type { KillPoint } from '../../../infra/runtime/kill-points/kill-points.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { KillOrder } from '../stage-driver.ts'
import { type HopRun, startHop } from './hop-driver.ts'
import type { HopSettings } from './hop-settings.ts'

/** The points that a hop comes to, and the most often that it surely does within seconds. */
const POINTS: Readonly<Partial<Record<KillPoint, number>>> = {
  'after-fetch': 4,
  'after-decode': 40,
  'before-produce-dead-letters': 15,
  'after-produce-dead-letters': 15,
  'before-produce-outputs': 40,
  'after-produce-outputs': 40,
  'before-commit': 5,
  'after-commit': 5,
  'during-claim': 1,
  'between-fence-and-tail': 1,
  'during-rebalance': 1,
}
const MOST_BATCHES = 100
const FAULT_WITHIN_MS = 120_000
/** For each of the two members in turn: a static one, whose lanes wait for its next process, and one whose lanes are taken over. */
const MEMBERS = ['static', null] as const

/**
 *   at-point       the process kills itself where the order says
 *   anywhere       it is killed from outside once its handler has finished so many batches
 *   while-waiting  it kills itself then, as soon as a batch is finished and stands behind one at work
 */
type HopFault =
  | { readonly kind: 'at-point'; readonly order: KillOrder }
  | { readonly kind: 'anywhere' | 'while-waiting'; readonly afterBatches: number }

/** Each point of a hop once, and so many faults of the other kinds, in an order by the seed. */
export function hopFaults(
  random: SeededRandom,
  counts: { readonly anywhere: number; readonly whileWaiting: number },
): readonly HopFault[] {
  const { anywhere, whileWaiting } = counts
  const faults: HopFault[] = []
  for (const [point, most] of Object.entries(POINTS) as [KillPoint, number][]) {
    faults.push({ kind: 'at-point', order: { point, nth: random.between(1, most), signal: 'KILL' } })
  }
  for (let kill = 0; kill < anywhere + whileWaiting; kill++) {
    const kind = kill < anywhere ? 'anywhere' : 'while-waiting'
    faults.push({ kind, afterBatches: random.between(0, MOST_BATCHES) })
  }
  return faults
    .map((fault) => ({ fault, at: random.next() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ fault }) => fault)
}

export interface KilledHops {
  /** One for each fault. */
  readonly killed: readonly HopRun[]
  /** The last processes, which run on. */
  readonly running: readonly HopRun[]
}

/**
 * Two members of one group, each of them one process after another: every process but the last ones has a fault. Records have to come
 * in meanwhile. Rejects when a fault does not happen in time, or a process ends by itself.
 */
export async function killHops(
  supervisor: Supervisor,
  settings: Omit<HopSettings, 'member' | 'seed' | 'killWaitingAfter'>,
  options: { readonly faults: readonly HopFault[]; readonly random: SeededRandom; readonly logFile: string },
): Promise<KilledHops> {
  const { random, logFile } = options
  const queue = [...options.faults]
  const killed: HopRun[] = []
  let started = 0

  function start(member: string | null, fault: HopFault | undefined): HopRun {
    const seed = random.fork(`process ${started++}`).between(0, 2 ** 31)
    const killWaitingAfter = fault?.kind === 'while-waiting' ? fault.afterBatches : null
    const order = fault?.kind === 'at-point' ? fault.order : null
    return startHop(supervisor, { ...settings, member, seed, killWaitingAfter }, { order, logFile })
  }

  async function keepAlive(member: string | null): Promise<HopRun> {
    for (;;) {
      const fault = queue.shift()
      const run = start(member, fault)
      if (fault === undefined) return run
      const what = `${JSON.stringify(fault)}, see ${logFile}`
      if (fault.kind === 'anywhere') {
        const due = run.until(() => run.finished >= fault.afterBatches)
        await within(Promise.race([due, run.exited]), what)
        run.kill()
      }
      const code = await within(run.exited, what)
      if (code !== null) throw new Error(`exit code ${code}: ${run.lastError}`)
      killed.push(run)
    }
  }

  return { running: await Promise.all(MEMBERS.map(keepAlive)), killed }
}

async function within<T>(work: Promise<T>, what: string): Promise<T> {
  const late = new AbortController()
  const passed = delay(FAULT_WITHIN_MS, undefined, { signal: late.signal }).then(() => {
    throw new Error(`not within ${FAULT_WITHIN_MS} ms: ${what}`)
  })
  try {
    return await Promise.race([work, passed])
  } finally {
    late.abort()
    // it rejects either way; who waits has been told
    await passed.catch(() => {})
  }
}
