import type { Clock } from '../../clock.ts'
import { describeError, fateOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { LogRange } from '../log-reader.ts'
import type { OwnedLane } from './owned-lane.ts'
import { type LostRange, lostRange, positionLost, retentionLost } from './start-position.ts'

export interface LostPositionOptions {
  readonly clock: Clock
  readonly logger: Logger
  readonly group: string
  readonly topic: string
  /** Rejects when it is another topic by now. */
  refresh(): Promise<unknown>
  range(partition: number): Promise<LogRange>
  readonly onRetentionLost: ((range: LostRange) => Promise<number>) | undefined
  onFailed(error: unknown): void
}

/** How soon a position that the log does not have is asked for again. */
const LOCATE_EVERY_MS = 200

/**
 * Finds out why a log does not have a lane's position, and takes `locating` back when it may be fetched again. Never takes another
 * position by itself.
 */
export async function locate(lane: OwnedLane, options: LostPositionOptions): Promise<void> {
  const { clock, logger } = options
  for (let known = false; !known && lane.state === 'flowing'; ) {
    try {
      known = await locateOnce(lane, options)
    } catch (error) {
      if (fateOf(error) !== 'retry') return options.onFailed(error)
      logger.warn({ ...describeError(error), partition: lane.partition }, 'position out of range: trying again')
    }
    // also when all is well: a leader that was just elected may not know its log's end yet
    await clock.sleep(LOCATE_EVERY_MS, lane.gone.signal)
  }
  lane.locating = false
}

/** False while what was fetched before is still worked on: the account of a lane goes in the order of its offsets. */
async function locateOnce(lane: OwnedLane, options: LostPositionOptions): Promise<boolean> {
  const { group, topic, onRetentionLost } = options
  const { partition, records } = lane
  await options.refresh()
  const position = records.fetchAt
  const range = await options.range(partition)
  const isStill = (): boolean => lane.state === 'flowing' && records.fetchAt === position
  if (!isStill()) return true
  if (position > range.end) throw positionLost(group, topic, partition, position, range)
  const lost = lostRange(partition, position, range)
  if (lost === null) return true
  if (records.settled < position) return false
  if (onRetentionLost === undefined) throw retentionLost(group, topic, lost)
  const next = await onRetentionLost(lost)
  if (isStill()) records.skipTo(next)
  return true
}
