import { fatal } from '../errors.ts'
import type { KafkaAdmin } from './kafka-admin.ts'

/** What production topics have: a broker may be lost without a record that was acknowledged. */
export const KEPT_REPLICAS = 3
export const KEPT_IN_SYNC = 2

/** How a topic keeps what it has acknowledged. */
export interface Replication {
  /** Of the partition that has fewest. */
  readonly replicas: number
  readonly minInSync: number
  readonly unclean: boolean
}

type TopicReader = Pick<KafkaAdmin, 'partitions' | 'topicConfig'>

const SETTINGS = ['min.insync.replicas', 'unclean.leader.election.enable'] as const

/** Of each of these topics that exists. */
export async function replicationOf(
  admin: TopicReader,
  topics: readonly string[],
): Promise<ReadonlyMap<string, Replication>> {
  const found = await admin.partitions(topics)
  return new Map(
    await Promise.all(
      [...found].map(async ([topic, partitions]): Promise<[string, Replication]> => {
        const config = await admin.topicConfig(topic, SETTINGS)
        const replicas = Math.min(...partitions.map((partition) => partition.replicas.length))
        const [minInSync, unclean] = SETTINGS.map((name) => config.get(name))
        return [topic, { replicas, minInSync: Number(minInSync), unclean: unclean === 'true' }]
      }),
    ),
  )
}

/**
 * What lets the topic lose records that it has acknowledged; null = nothing. A single replica is a choice that can be made;
 * several, of which one that is behind may become the leader, are none.
 */
export function replicationProblem(
  { replicas, minInSync, unclean }: Replication,
  allowSingleReplica: boolean,
): string | null {
  if (unclean && (replicas > 1 || !allowSingleReplica)) {
    return 'unclean.leader.election.enable is on: a replica that is behind may lead, and what it lacks is lost'
  }
  if (allowSingleReplica) return null
  if (replicas < KEPT_REPLICAS) return `it has ${replicas} replica(s), ${KEPT_REPLICAS} are needed`
  if (minInSync < KEPT_IN_SYNC) return `min.insync.replicas is ${minInSync}: one broker lost is data lost`
  return null
}

/**
 * Rejects with `replication_too_low` (crash), naming each topic and what is wrong with it; `unknown_topic` (crash) when one
 * does not exist.
 */
export async function requireReplication(
  admin: TopicReader,
  topics: readonly string[],
  options: { readonly allowSingleReplica: boolean; readonly allowedBy: string },
): Promise<void> {
  const found = await replicationOf(admin, topics)
  const problems: string[] = []
  for (const topic of topics) {
    const replication = found.get(topic)
    if (replication === undefined) throw unknownTopic(topic)
    const problem = replicationProblem(replication, options.allowSingleReplica)
    if (problem !== null) problems.push(`topic ${topic}: ${problem}`)
  }
  if (problems.length > 0) {
    throw fatal('replication_too_low', `${problems.join('; ')} (${options.allowedBy} accepts a single replica)`)
  }
}

/**
 * Each partition of the input must be there in every output, which may have more. Rejects with `lanes_differ` (crash), naming topics,
 * counts and the command; `unknown_topic` (crash) when a topic does not exist.
 */
export async function requireLanes(
  admin: Pick<KafkaAdmin, 'partitionCounts'>,
  lanes: {
    readonly input: string
    readonly outputs: readonly string[]
    readonly growCommand: (lanes: number) => string
  },
): Promise<void> {
  const { input, outputs, growCommand } = lanes
  const counts = await admin.partitionCounts([input, ...outputs])
  const countOf = (topic: string): number => {
    const count = counts.get(topic)
    if (count === undefined) throw unknownTopic(topic)
    return count
  }
  const needed = countOf(input)
  const short = outputs.filter((topic) => countOf(topic) < needed)
  if (short.length > 0) {
    const have = short.map((topic) => `${topic} has ${countOf(topic)}`).join(', ')
    const what = `${have} partition(s), but ${input} has ${needed}: a record stays in its partition number`
    throw fatal('lanes_differ', `${what}. Run: ${growCommand(needed)}`)
  }
}

function unknownTopic(topic: string): Error {
  return fatal('unknown_topic', `topic ${topic} does not exist: run millrace topics`)
}
