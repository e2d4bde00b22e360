import type { TopicDeclaration } from '../../../schemas/topics.ts'
import { fatal } from '../../runtime/errors.ts'

export interface GrowthStep {
  readonly topic: string
  readonly from: number
  readonly to: number
}

export interface GrowthPlan {
  /** In the order in which they are taken; what already has the partitions is not among them. */
  readonly outputs: readonly GrowthStep[]
  /** Taken last; null when there is nothing to add, or the topic is not ours. */
  readonly events: GrowthStep | null
  /** Where the lanes come from, as it is now. */
  readonly source: { readonly topic: string; readonly partitions: number; readonly owned: boolean }
}

/**
 * What is left to be done to give a pipeline so many lanes: after a run that broke off, the rest. An output may have more
 * partitions than there are lanes, never fewer. `declarations` are those of a pipeline, in the order of growth. Throws
 * `lanes_cannot_shrink` or `unknown_topic` (crash).
 */
export function planGrowth(
  declarations: readonly TopicDeclaration[],
  counts: ReadonlyMap<string, number>,
  lanes: number,
): GrowthPlan {
  const steps = declarations
    .filter(({ grows }) => grows)
    .map(({ name, owned }) => {
      const from = counts.get(name)
      if (from === undefined) throw fatal('unknown_topic', `topic ${name} does not exist: run millrace topics`)
      return { topic: name, from, to: lanes, owned }
    })
  const events = steps.pop()
  if (events === undefined) throw fatal('unknown_topic', 'the pipeline has no topic that grows')
  if (lanes < events.from) {
    throw fatal(
      'lanes_cannot_shrink',
      `${events.topic} has ${events.from} partitions: Kafka takes none away, and what is in them would lose its lane`,
    )
  }
  const { topic, from, owned } = events
  return {
    outputs: steps.filter((step) => step.from < lanes).map(({ topic, from, to }) => ({ topic, from, to })),
    events: owned && from < lanes ? { topic, from, to: lanes } : null,
    source: { topic, partitions: from, owned },
  }
}
