import { killPoint } from '#kill-points'
import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { describeError, fatal, fateOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import type { BrokerError } from '../protocol/error-codes.ts'
import { type CommittedPosition, offsetCommitRequest } from '../protocol/offset-commit.ts'
import type { LaneHooks } from './lane-source.ts'
import type { Membership } from './membership.ts'
import { isOwned, type OwnedLane } from './owned-lane.ts'

export interface CommitterOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly logger: Logger
  readonly topic: string
  readonly membership: Pick<Membership, 'identity' | 'synced' | 'told'>
  readonly metadata: LaneHooks['metadata']
  onRefused(refused: {
    readonly error: BrokerError
    readonly generation: number
    readonly partitions: readonly number[]
  }): void
  /** A commit can never succeed. */
  onFailed(error: unknown): void
  /** The brokers do not know the topic or the partition (any more). */
  onUnknownTopic(): void
}

/**
 * One request at a time, so that an older position never lands after a newer one. What is asked for meanwhile goes together
 * into the next. A commit that came between two generations is made again in the new one, if the partition is still ours.
 */
export interface Committer {
  /** What each has settled. Resolves when that is committed, or the partition is not ours any more. */
  commitSettled(lanes: Iterable<OwnedLane>): Promise<void>
  /** False when the partition is not ours any more. */
  commit(lane: OwnedLane, offset: number, metadata: string): Promise<boolean>
}

interface Entry {
  readonly lane: OwnedLane
  /** Asked for each attempt; null = there is nothing to commit. */
  position(): CommittedPosition | null
  done(taken: boolean): void
}

const BACKOFF = { baseMs: 20, maxMs: 1_000 }
const TOO_LARGE: ReadonlySet<BrokerError> = new Set<BrokerError>([
  'OFFSET_METADATA_TOO_LARGE',
  'INVALID_COMMIT_OFFSET_SIZE',
])

export function createCommitter(options: CommitterOptions): Committer {
  const { connections, clock, logger, topic, membership } = options
  const queue: Entry[] = []
  let running = false
  let failed = false

  const end = (entry: Entry, taken: boolean): void => {
    queue.splice(queue.indexOf(entry), 1)
    entry.done(taken)
  }

  /** At most one of each partition, the oldest; those that are of no use any more end here. */
  function next(): Map<number, { readonly entry: Entry; readonly position: CommittedPosition }> {
    const chosen = new Map<number, { readonly entry: Entry; readonly position: CommittedPosition }>()
    for (const entry of [...queue]) {
      if (!isOwned(entry.lane)) end(entry, false)
      else if (!chosen.has(entry.lane.partition)) {
        const position = entry.position()
        if (position === null) end(entry, true)
        else chosen.set(entry.lane.partition, { entry, position })
      }
    }
    return chosen
  }

  /** True when everything that was sent has been taken. */
  async function sendRound(): Promise<boolean> {
    await membership.synced()
    const chosen = next()
    if (chosen.size === 0) return true
    const asked = membership.identity()
    killPoint('before-commit')
    const request = offsetCommitRequest(
      asked,
      topic,
      [...chosen.values()].map(({ position }) => position),
    )
    let errors: ReadonlyMap<number, BrokerError | null>
    try {
      errors = await connections.send(await connections.coordinator('group', asked.group), 'control', request)
    } catch (error) {
      connections.forgetCoordinator('group', asked.group)
      throw error
    }
    killPoint('after-commit')
    const refused = new Map<BrokerError, number[]>()
    for (const [partition, { entry, position }] of chosen) {
      const error = errors.get(partition) ?? null
      if (error === null) {
        entry.lane.committed = position.offset
        end(entry, true)
      } else refused.set(error, [...(refused.get(error) ?? []), partition])
    }
    for (const [error, partitions] of refused) {
      options.onRefused({ error, generation: asked.generation, partitions })
      if (TOO_LARGE.has(error)) throw fatal('commit_refused', `${topic}/${partitions.join(', ')}: ${error}`)
      if (error === 'UNKNOWN_TOPIC_OR_PARTITION') options.onUnknownTopic()
      else membership.told(error, asked)
    }
    return refused.size === 0
  }

  async function run(): Promise<void> {
    running = true
    for (let attempt = 0; queue.length > 0 && !failed; ) {
      try {
        if (await sendRound()) {
          attempt = 0
          continue
        }
      } catch (error) {
        if (fateOf(error) !== 'retry') {
          failed = true
          running = false
          for (const entry of [...queue]) end(entry, false)
          options.onFailed(error)
          return
        }
        logger.warn({ ...describeError(error), topic, attempt }, 'commit: trying again')
      }
      await clock.sleep(backoffMs(BACKOFF, attempt++))
    }
    running = false
  }

  function add(lane: OwnedLane, position: Entry['position']): Promise<boolean> {
    return new Promise((resolve) => {
      if (failed || !isOwned(lane)) return resolve(false)
      queue.push({ lane, position, done: resolve })
      if (!running) void run()
    })
  }

  return {
    commit: (lane, offset, metadata) => add(lane, () => ({ partition: lane.partition, offset, metadata })),
    async commitSettled(lanes) {
      await Promise.all([...lanes].map((lane) => add(lane, () => settledPosition(lane, options.metadata))))
    },
  }
}

function settledPosition(lane: OwnedLane, metadata: LaneHooks['metadata']): CommittedPosition | null {
  const { partition, committed } = lane
  const offset = lane.records.settled
  if ((lane.state !== 'flowing' && lane.state !== 'draining') || offset <= committed) return null
  const text = metadata === undefined ? '' : metadata(partition, offset)
  return text === null ? null : { partition, offset, metadata: text }
}
