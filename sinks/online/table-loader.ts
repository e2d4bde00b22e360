import { randomUUID } from 'node:crypto'
import type { Backoff } from '../../infra/runtime/backoff.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fateOf } from '../../infra/runtime/errors.ts'
import type { PartitionRange } from '../../infra/runtime/kafka/kafka-admin.ts'
import { untilDone } from '../../infra/runtime/lifecycle/retry.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import { tablePositionsKey, tableReadyKey } from '../../schemas/redis-keys.ts'
import {
  fitsLog,
  isLoaded,
  newLoadWrites,
  newPositions,
  positionWrites,
  readPositions,
  type TablePositions,
} from './table-positions.ts'

/**
 * Keeps one table's positions in Redis, beside the rows that they are true of, instead of in the consumer group: when
 * Redis has lost its data, they are gone with it, and the topic is read again from its start.
 *
 *   lost     no positions, or of another topic or log → a new load is begun: `ready` is removed, every partition begins
 *            at its start, in whatever process it is
 *   loading  positions follow the rows, at most one check behind; a load that another process began is joined
 *   loaded   what the topic held when the load began is in the rows: `ready` is set
 *
 * A position is written only after everything below it is settled, so rows may be written twice, and none is left out.
 * Redis must not evict keys: a single row that it dropped is not noticed.
 */
export interface TableLoader {
  /** Where a partition begins that was just assigned. Waits for Redis and Kafka. */
  startAt(partition: number): Promise<number>
  /** Null once the table is loaded, else what it waits for. */
  waitsFor(): string | null
  /** Compares with Redis, sends the reader back when the data is gone, notes positions. May reject with `retry`. */
  check(reader: TableReader): Promise<void>
  /** Ends all waiting, for good. */
  giveUp(): void
  /** Checks every `checkMs` until `stop`; `ended` rejects with what is not a `retry`. */
  run(reader: TableReader): { readonly ended: Promise<void>; stop(): Promise<void> }
}

/** Who reads the table's topic. */
export interface TableReader {
  /** Of each partition that is read: below it everything is in the rows. */
  positions(): ReadonlyMap<number, number>
  /** Every partition begins again at `startAt`. */
  restart(): Promise<void>
}

export interface TableLoaderDeps {
  readonly pipeline: string
  readonly table: string
  /** Id of the table's topic. */
  readonly generation: string
  readonly ranges: () => Promise<readonly PartitionRange[]>
  readonly redis: Pick<RedisClient, 'getHash' | 'getMany' | 'transaction'>
  readonly clock: Clock
  readonly retry: Backoff
  readonly checkMs: number
  readonly logger: Logger
}

export function createTableLoader(deps: TableLoaderDeps): TableLoader {
  const { generation, redis, clock, checkMs } = deps
  const positionsKey = tablePositionsKey(deps.pipeline, deps.table)
  const readyKey = tableReadyKey(deps.pipeline, deps.table)
  const logger = deps.logger.child({ table: deps.table })
  const stopping = new AbortController()
  /** The load that the reader's lanes belong to. */
  let load: string | null = null
  let loaded = false
  let locating: Promise<{ positions: TablePositions; ranges: readonly PartitionRange[] }> | null = null

  async function current(): Promise<TablePositions | null> {
    return readPositions(await redis.getHash(positionsKey), generation)
  }

  async function locate(): Promise<{ positions: TablePositions; ranges: readonly PartitionRange[] }> {
    const ranges = await deps.ranges()
    const found = await current()
    const usable = found !== null && fitsLog(found, ranges)
    const positions = usable ? found : newPositions(generation, randomUUID(), ranges)
    if (!usable) {
      await redis.transaction([{ op: 'delete', key: readyKey }, ...newLoadWrites(positionsKey, positions)])
      logger.info({ topicWasCut: found !== null }, 'table is loaded from the start of its topic')
    }
    load = positions.load
    loaded = false
    return { positions, ranges }
  }

  /** The partitions of one assignment are located together, so that they belong to one load. */
  function locateOnce(): NonNullable<typeof locating> {
    const options = { backoff: deps.retry, clock, logger, signal: stopping.signal }
    locating ??= untilDone(`positions of ${deps.table}`, locate, options).finally(() => {
      locating = null
    })
    return locating
  }

  /** `ready` names the load that it is true of; one that a slower process set for an earlier load is taken back. */
  async function announce(positions: TablePositions): Promise<void> {
    const [[value = null] = []] = await redis.getMany([[readyKey]])
    const announced = value === null ? null : value.toString()
    loaded = isLoaded(positions)
    if (loaded && announced !== positions.load) {
      await redis.transaction([{ op: 'set', key: readyKey, value: positions.load }])
      logger.info({}, 'table is loaded')
    } else if (!loaded && announced !== null) {
      await redis.transaction([{ op: 'delete', key: readyKey }])
    }
  }

  async function check(reader: TableReader): Promise<void> {
    if (locating !== null) return
    const found = await current()
    if (load === null) {
      // no partition is this process's: the others load the table
      loaded = found !== null && isLoaded(found)
      return
    }
    if (found === null || found.load !== load) {
      loaded = false
      logger.warn({}, found === null ? 'Redis has lost the table' : 'another process loads the table again')
      await reader.restart()
      return
    }
    const own = reader.positions()
    const moved = new Map([...own].filter(([partition, offset]) => found.next.get(partition) !== offset))
    if (moved.size > 0) await redis.transaction(positionWrites(positionsKey, found.load, moved))
    await announce({ ...found, next: new Map([...found.next, ...moved]) })
  }

  async function checkUntilStopped(reader: TableReader): Promise<void> {
    let failing = false
    while (!stopping.signal.aborted) {
      await clock.sleep(checkMs, stopping.signal)
      try {
        await check(reader)
        failing = false
      } catch (error) {
        if (fateOf(error) !== 'retry') throw error
        if (!failing) logger.warn(describeError(error), 'table positions cannot be checked')
        failing = true
      }
    }
  }

  return {
    async startAt(partition) {
      const { positions, ranges } = await locateOnce()
      const low = ranges.find((range) => range.partition === partition)?.low ?? 0
      // a partition that the load does not know was added to the topic since
      return positions.next.get(partition) ?? low
    },
    waitsFor: () => (loaded ? null : `table ${deps.table} is being loaded`),
    check,
    giveUp: () => stopping.abort(),
    run(reader) {
      const ended = checkUntilStopped(reader)
      ended.catch(() => {})
      return {
        ended,
        async stop() {
          stopping.abort()
          await ended
        },
      }
    },
  }
}
