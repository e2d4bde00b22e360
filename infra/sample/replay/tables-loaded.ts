import { tablePositionsKey, tableReadyKey } from '../../../schemas/redis-keys.ts'
import type { Clock } from '../../runtime/clock.ts'
import { fatal, fateOf } from '../../runtime/errors.ts'
import type { RedisClient } from '../../runtime/redis/redis-client.ts'
import type { CountedProducer } from './counted-producer.ts'

export interface SentTable {
  readonly name: string
  /** Id of the table's topic. */
  readonly generation: string
  readonly producer: Pick<CountedProducer, 'partitions' | 'flush'>
}

export interface TablesLoadedOptions {
  readonly pipeline: string
  readonly tables: readonly SentTable[]
  readonly redis: Pick<RedisClient, 'getMany' | 'getHash'>
  readonly clock: Clock
  readonly withinMs: number
  readonly signal: AbortSignal
}

const POLL_MS = 50

/**
 * Resolves when lookups find every row sent so far. Rejects with `tables_not_loaded` (crash) when that takes too long,
 * and with the signal's reason.
 */
export async function untilTablesLoaded(options: TablesLoadedOptions): Promise<void> {
  const { tables, clock, withinMs, signal } = options
  for (const { producer } of tables) await producer.flush()
  const deadline = clock.monotonic() + withinMs
  for (const table of tables) {
    for (;;) {
      signal.throwIfAborted()
      const missing = await whatIsMissing(options, table)
      if (missing === null) break
      if (clock.monotonic() > deadline) {
        const waited = `after ${Math.round(withinMs / 1_000)} s`
        throw fatal('tables_not_loaded', `table ${table.name} is not in Redis ${waited}: ${missing}. Do the sinks run?`)
      }
      await clock.sleep(POLL_MS, signal)
    }
  }
}

async function whatIsMissing({ pipeline, redis }: TablesLoadedOptions, table: SentTable): Promise<string | null> {
  try {
    const [[ready] = []] = await redis.getMany([[tableReadyKey(pipeline, table.name)]])
    if (ready === null || ready === undefined) return 'its topic has not been read to the end'
    const positions = await redis.getHash(tablePositionsKey(pipeline, table.name))
    for (const [partition, { end }] of table.producer.partitions) {
      const [generation, next] = positions[partition]?.split(':') ?? []
      if (generation !== table.generation) return `partition ${partition} has not been read`
      if (Number(next) < end) return `partition ${partition} is at offset ${next} of ${end}`
    }
    return null
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    return (error as Error).message
  }
}
