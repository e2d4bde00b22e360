import type { CommitMetadata, NotedLog } from './commit-metadata.ts'
import type { FencedPartition } from './fencing.ts'
import type { LaneTopics } from './lane-writer.ts'

/** What a commit noted of this very output. */
export function notedOf(topic: string, noted: CommitMetadata | null): NotedLog | null {
  return noted?.output?.topic === topic ? noted.output : null
}

/**
 * Whether everything below the committed position has ended as far as this lane's output goes. A member of the same group may
 * have committed for another output: then it has only if that lane did without this output.
 */
export function countsFor(lane: LaneTopics, noted: CommitMetadata | null): boolean {
  if (noted === null || lane.output === null || noted.output === null) return true
  return noted.output.topic === lane.output || noted.skips.includes(lane.output)
}

/** An output has one writing stage, whatever that reads; dead letters have one writer for each input. */
export function targetsOf(lane: LaneTopics): readonly FencedPartition[] {
  const { partition, input, output, deadLetters, alsoFence = [] } = lane
  const letters = [input.topic, ...alsoFence].map((topic) => ({
    transactionalId: `millrace/${topic}/${deadLetters}/${partition}`,
    topic: deadLetters,
    partition,
  }))
  if (output === null) return letters
  return [...letters, { transactionalId: `millrace/${output}/${partition}`, topic: output, partition }]
}
