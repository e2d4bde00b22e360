import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { consumerGroup, stageTopic } from '../../../schemas/topics.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { topicsOf } from '../deployment/declare-topics.ts'
import { patiently } from '../patiently.ts'
import { type DrainDeps, drain, type Ends, requireUnmoved } from './drain.ts'
import { type GrowthPlan, type GrowthStep, planGrowth } from './growth-plan.ts'

/** `say` is told of each step when it is done. */
export interface GrowDeps extends DrainDeps {
  readonly admin: Pick<KafkaAdmin, 'partitionCounts' | 'addPartitions' | 'committed'>
}

export interface GrowOptions {
  readonly lanes: number
  /** Wait until everything that was written before has passed, so that key order holds across the growth. */
  readonly drain: boolean
  /** Say what would be done. */
  readonly dryRun: boolean
}

/** For the leaders of one topic's new partitions. */
const LEADERS_WITHIN_MS = 60_000

/**
 * Gives a pipeline more lanes, outputs before what is written from them, the events topic last. Safe to repeat: each step
 * is decided from the partitions that are there, so after a crash the same command does the rest.
 */
export async function growLanes(deps: GrowDeps, pipeline: CompiledPipeline, options: GrowOptions): Promise<void> {
  const { admin, say } = deps
  const declarations = topicsOf(pipeline)
  const counts = await admin.partitionCounts(declarations.map(({ name }) => name))
  const plan = planGrowth(declarations, counts, options.lanes)
  if (options.dryRun) {
    for (const { topic, from, to } of allSteps(plan)) say(`to grow   ${topic} (${from} to ${to} partitions)`)
    for (const line of remarks(plan, options)) say(line)
    return
  }
  const grows = plan.events !== null || plan.source.partitions < options.lanes
  const ends = options.drain && grows ? await drain(deps, readersOf(pipeline)) : null
  if (ends !== null) say(`drained   ${plan.source.topic}: every stage has caught up, and nothing is written to it`)

  for (const step of plan.outputs) await growTopic(deps, step)
  if (plan.events !== null) await growEvents(deps, plan.events, ends)
  for (const line of remarks(plan, options)) say(line)
}

/** What has to have passed for an event to be predicted after all that came before it. */
function readersOf({ name, event }: CompiledPipeline) {
  return [
    { group: consumerGroup(name, 'processors'), topic: event.topic },
    { group: consumerGroup(name, 'inference'), topic: stageTopic(name, 'features') },
  ] as const
}

async function growEvents(deps: GrowDeps, step: GrowthStep, ends: Ends | null): Promise<void> {
  if (ends !== null) await requireUnmoved(deps, step.topic, ends)
  await growTopic(deps, step)
  // a record written meanwhile may have a successor in another lane by now
  if (ends !== null) await requireUnmoved(deps, step.topic, ends)
}

async function growTopic({ admin, say }: GrowDeps, { topic, from, to }: GrowthStep): Promise<void> {
  const grow = (): Promise<void> => admin.addPartitions(topic, to)
  await patiently(`growing ${topic}`, grow, { say, signal: AbortSignal.timeout(LEADERS_WITHIN_MS) })
  say(`grown     ${topic} (${from} to ${to} partitions)`)
}

function allSteps({ outputs, events }: GrowthPlan): readonly GrowthStep[] {
  return events === null ? outputs : [...outputs, events]
}

function remarks(plan: GrowthPlan, { lanes, drain }: GrowOptions): readonly string[] {
  const { topic, partitions, owned } = plan.source
  if (allSteps(plan).length === 0 && partitions === lanes) return [`unchanged ${topic} has ${lanes} partitions already`]
  const lines: string[] = []
  if (!owned && partitions < lanes) {
    lines.push(`not ours  ${topic} (${partitions} partitions): its owner can give it up to ${lanes} now`)
  }
  if (!drain && partitions < lanes) {
    lines.push(
      'Key order does not hold across this growth: an event in a new lane may overtake one of its key in the old lane. With --drain it does.',
    )
  }
  return lines
}
