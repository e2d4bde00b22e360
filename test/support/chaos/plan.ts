import { KILL_POINTS, type KillPoint } from '../../../infra/runtime/kill-points/kill-points.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { DrivenStage, KillOrder } from '../stage-driver.ts'

/**
 *   at-point  the process dies, or stops, where the order says; if it does not come there in time, it is killed where it is
 *   kill      so long after it has started, wherever it is
 *   freeze    so long after it has started it is stopped, for longer than its session: it goes on as a zombie
 */
export type StageFault =
  | { readonly kind: 'at-point'; readonly order: KillOrder }
  | { readonly kind: 'kill' | 'freeze'; readonly afterMs: number }

export type ComponentFault = 'kafka-kill' | 'kafka-restart' | 'clickhouse-kill'

export interface ChaosPlan {
  /** How long a process may take to come to the point of its order, before it is killed where it is. */
  readonly atPointWithinMs: number
  /** Of each stage in turn, taken by whichever of its processes starts next. */
  readonly stages: Readonly<Record<DrivenStage, readonly StageFault[]>>
  /** Faults of components, each once so many stage faults have happened. */
  readonly components: readonly { readonly after: number; readonly fault: ComponentFault }[]
  /** Processes of each stage from then on. */
  readonly scale: readonly { readonly after: number; readonly processes: number }[]
}

export const STAGES: readonly DrivenStage[] = ['processors', 'inference', 'sinks']

const IN_SINKS_ALONE: readonly KillPoint[] = ['sealed-not-inserted', 'inserted-unanswered']
const NOT_IN_SINKS: readonly KillPoint[] = ['after-decode', 'before-produce-outputs', 'after-produce-outputs']
/** The flights pipeline gives inference nothing to reject, and sinks everything fits. */
const IN_PROCESSORS_ALONE: readonly KillPoint[] = ['before-produce-dead-letters', 'after-produce-dead-letters']
/** Passed once in the life of a lane, not with every batch. */
const RARE: readonly KillPoint[] = ['during-claim', 'between-fence-and-tail', 'during-rebalance']

/** About once a second. */
const SELDOM: readonly KillPoint[] = ['before-commit', 'after-commit', ...IN_SINKS_ALONE, ...IN_PROCESSORS_ALONE]

/** The points that a stage comes to when it runs the flights pipeline. */
export function pointsOf(stage: DrivenStage): readonly KillPoint[] {
  return (Object.keys(KILL_POINTS) as KillPoint[]).filter((point) => {
    if (IN_SINKS_ALONE.includes(point)) return stage === 'sinks'
    if (IN_PROCESSORS_ALONE.includes(point)) return stage === 'processors'
    return stage !== 'sinks' || !NOT_IN_SINKS.includes(point)
  })
}

/** Each point once, in the stage that has fewest so far, and each stage as a zombie; one broker and one ClickHouse killed. */
export function shortPlan(random: SeededRandom): ChaosPlan {
  const stages = { processors: [] as StageFault[], inference: [] as StageFault[], sinks: [] as StageFault[] }
  for (const point of Object.keys(KILL_POINTS) as KillPoint[]) {
    const able = STAGES.filter((stage) => pointsOf(stage).includes(point))
    const fewest = able.reduce((a, b) => (stages[b].length < stages[a].length ? b : a))
    stages[fewest].push({
      kind: 'at-point',
      order: { point, nth: RARE.includes(point) ? 1 : random.between(1, 3), signal: 'KILL' },
    })
  }
  for (const stage of STAGES) stages[stage].push({ kind: 'freeze', afterMs: random.between(500, 1_500) })
  return {
    atPointWithinMs: 180_000,
    stages,
    components: [
      { after: 5, fault: 'clickhouse-kill' },
      { after: 10, fault: 'kafka-kill' },
    ],
    scale: [{ after: 0, processes: 1 }],
  }
}

/** `kills` faults of stages by the seed: about half at points, a sixth of them zombies; and faults of components between them. */
export function randomPlan(random: SeededRandom, kills: number): ChaosPlan {
  const stages = { processors: [] as StageFault[], inference: [] as StageFault[], sinks: [] as StageFault[] }
  for (let kill = 0; kill < kills; kill++) {
    const stage = STAGES[kill % STAGES.length] as DrivenStage
    stages[stage].push(randomFault(stage, random))
  }
  const components: { after: number; fault: ComponentFault }[] = []
  for (let after = random.between(3, 10); after < kills; after += random.between(5, 20)) {
    components.push({
      after,
      fault: random.pick(['kafka-kill', 'kafka-restart', 'clickhouse-kill', 'clickhouse-kill']),
    })
  }
  return {
    atPointWithinMs: 15_000,
    stages,
    components,
    scale: [
      { after: 0, processes: 1 },
      { after: Math.floor(kills / 5), processes: 3 },
      { after: Math.floor((3 * kills) / 5), processes: 2 },
    ],
  }
}

function randomFault(stage: DrivenStage, random: SeededRandom): StageFault {
  if (random.chance(0.6)) {
    const point = random.pick(pointsOf(stage))
    const signal = random.chance(0.2) ? 'STOP' : 'KILL'
    return { kind: 'at-point', order: { point, nth: random.between(1, mostOften(point)), signal } }
  }
  return { kind: random.chance(0.8) ? 'kill' : 'freeze', afterMs: random.between(0, 4_000) }
}

/** How often a process comes to a point within a few seconds. */
function mostOften(point: KillPoint): number {
  if (RARE.includes(point)) return 2
  return SELDOM.includes(point) ? 5 : 40
}
