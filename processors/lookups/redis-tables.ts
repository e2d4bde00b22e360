import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { fateOf, MillraceError, retryable } from '../../infra/runtime/errors.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import type { CompiledTable } from '../../schemas/pipeline/compiled.ts'
import { tableReadyKey, tableRowKeyPrefix } from '../../schemas/redis-keys.ts'
import { type Availability, createAvailability } from './availability.ts'
import { createRowCache } from './row-cache.ts'
import type { TableKeys, TableRow, Tables } from './tables.ts'

export interface RedisTablesOptions {
  readonly pipeline: string
  /** With the reader of each table's rows. */
  readonly tables: readonly { readonly table: CompiledTable; readonly reader: AvroReader<TableRow['record']> }[]
  readonly redis: Pick<RedisClient, 'getMany'>
  readonly clock: Clock
  /** Per table. */
  readonly cacheMaxEntries: number
  readonly cacheTtlMs: number
  readonly observer: LookupObserver
}

/** Called once per table and fetch; must not throw. */
export interface LookupObserver {
  looked(table: string, counts: LookupCounts): void
  availability(table: string, now: Availability, cause: MillraceError | null): void
}

export interface LookupCounts {
  readonly cached: number
  readonly found: number
  readonly absent: number
  /** Rows in Redis that their schema cannot read; they count as absent rows do. */
  readonly undecodable: number
}

/**
 * Tables in Redis. One round trip per fetch reads the missing keys of all tables, each together with the table's
 * `ready` marker: rows of a table that is still being loaded may be old, and are not used. Only rows that were found
 * are cached, so that a row that arrives is seen by the next fetch.
 */
export function createRedisTables(options: RedisTablesOptions): Tables {
  const { pipeline, redis, clock, observer } = options
  const states = new Map(
    options.tables.map(({ table, reader }) => [
      table.name,
      {
        name: table.name,
        timeField: table.timeField,
        readyKey: tableReadyKey(pipeline, table.name),
        rowPrefix: tableRowKeyPrefix(pipeline, table.name),
        reader,
        availability: createAvailability(table.onUnavailable, clock.monotonic),
        cache: createRowCache<TableRow>({
          maxEntries: options.cacheMaxEntries,
          ttlMs: options.cacheTtlMs,
          now: clock.monotonic,
        }),
      },
    ]),
  )
  type State = typeof states extends Map<string, infer S> ? S : never

  interface Request {
    readonly table: State
    readonly rows: Map<string, TableRow>
    readonly missing: readonly string[]
  }

  function fromCache(table: State, keys: ReadonlySet<string>): Request {
    const rows = new Map<string, TableRow>()
    const missing: string[] = []
    for (const key of keys) {
      const row = table.cache.get(key)
      if (row === undefined) missing.push(key)
      else rows.set(key, row)
    }
    return { table, rows, missing }
  }

  /** An error when a row's writer schema is not known yet: the table counts as unavailable, the other rows are there. */
  async function accept(request: Request, values: readonly (Buffer | null)[]): Promise<MillraceError | null> {
    const { table, rows, missing } = request
    const counts = { cached: rows.size, found: 0, absent: 0, undecodable: 0 }
    let pending: MillraceError | null = null
    await table.reader.prepare(values)
    for (const [index, key] of missing.entries()) {
      const value = values[index] ?? null
      const decoded = value === null ? null : table.reader.decode(value)
      if (decoded === null) counts.absent += 1
      else if (!decoded.ok) {
        if (decoded.pending) pending = retryable('unknown_schema', `${table.name}: ${decoded.message}`)
        else counts.undecodable += 1
      } else {
        const time = decoded.record[table.timeField]
        const row = { time: typeof time === 'number' ? time : null, record: decoded.record }
        table.cache.set(key, row)
        rows.set(key, row)
        counts.found += 1
      }
    }
    observer.looked(table.name, counts)
    if (pending !== null) return unavailable(request, pending)
    observer.availability(table.name, table.availability.answered(), null)
    return null
  }

  function unavailable(request: Request, error: MillraceError): MillraceError | null {
    const availability = request.table.availability.failed()
    observer.availability(request.table.name, availability, error)
    return availability === 'waiting' ? error : null
  }

  async function readMissing(requests: readonly Request[]): Promise<void> {
    const asked = requests.filter(({ missing }) => missing.length > 0)
    if (asked.length === 0) return
    const groups = asked.map(({ table, missing }) => [table.readyKey, ...missing.map((key) => table.rowPrefix + key)])
    let answers: Awaited<ReturnType<RedisClient['getMany']>>
    try {
      answers = await redis.getMany(groups)
    } catch (error) {
      if (!(error instanceof MillraceError) || fateOf(error) !== 'retry') throw error
      throwFirst(asked.map((request) => unavailable(request, error)))
      return
    }
    const waiting: (MillraceError | null)[] = []
    for (const [index, request] of asked.entries()) {
      const [ready, ...values] = answers[index] ?? []
      if (ready === null || ready === undefined) {
        waiting.push(unavailable(request, retryable('table_not_ready', `table ${request.table.name} is not loaded`)))
        continue
      }
      waiting.push(await accept(request, values))
    }
    throwFirst(waiting)
  }

  return {
    async fetch(keys: TableKeys) {
      const requests: Request[] = []
      for (const [name, wanted] of keys) requests.push(fromCache(states.get(name) as State, wanted))
      await readMissing(requests)
      const rows = new Map(requests.map((request) => [request.table.name, request.rows]))
      return { row: (table, key) => rows.get(table)?.get(key) ?? null }
    },
  }
}

function throwFirst(errors: readonly (MillraceError | null)[]): void {
  const first = errors.find((error) => error !== null)
  if (first !== undefined) throw first
}
