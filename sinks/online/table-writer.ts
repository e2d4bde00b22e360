import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { BatchHandler, Outcome, Rejection } from '../../infra/runtime/kafka/outcome.ts'
import type { RedisClient, RedisWrite } from '../../infra/runtime/redis/redis-client.ts'
import type { CompiledTable } from '../../schemas/pipeline/compiled.ts'
import { tableRowKeyPrefix } from '../../schemas/redis-keys.ts'
import { type TableRecord, tableKeyOf } from './table-rows.ts'

export interface TableWriterDeps {
  readonly pipeline: string
  readonly table: Pick<CompiledTable, 'name' | 'keyFields'>
  readonly reader: AvroReader<TableRecord>
  readonly redis: Pick<RedisClient, 'transaction'>
  readonly observer: { wroteTable(table: string, rows: number): void }
}

/** Redis does nothing else during a transaction, so it is kept short. */
const ROWS_PER_TRANSACTION = 1_000

/**
 * Puts a table's rows into Redis as they came, tombstones delete. Rows are written in the order of their offsets and
 * may be written again; where to go on after a restart is the business of table-loader.ts.
 */
export function createTableWriter(deps: TableWriterDeps): BatchHandler {
  const { table, reader, redis, observer } = deps
  const prefix = tableRowKeyPrefix(deps.pipeline, table.name)

  /** Write of one record; null when the outcome has heard what else becomes of it. */
  function writeOf(outcome: Outcome, index: number): RedisWrite | 'deferred' | null {
    const { batch } = outcome
    const value = batch.value(index)
    const decoded = value === null ? null : reader.decode(value)
    if (decoded !== null && !decoded.ok && decoded.pending) {
      outcome.defer(index, 'unknown_schema', decoded.message)
      return 'deferred'
    }
    if (decoded !== null && !decoded.ok) {
      outcome.reject(index, unstored(decoded))
      return null
    }
    const key = tableKeyOf(table, batch.key(index), decoded === null ? null : decoded.record)
    if (!key.ok) {
      outcome.reject(index, unstored(key))
      return null
    }
    outcome.done(index)
    return value === null
      ? { op: 'delete', key: prefix + key.text }
      : { op: 'set', key: prefix + key.text, value: Buffer.from(value) }
  }

  return {
    // fates given before a write that fails go with their outcomes: the hop opens new ones for the next try
    async handle(outcomes) {
      await reader.prepare(valuesOf(outcomes))
      const writes: RedisWrite[] = []
      for (const outcome of outcomes) {
        for (let index = 0; index < outcome.batch.length; index++) {
          const write = writeOf(outcome, index)
          if (write === 'deferred') break
          if (write !== null) writes.push(write)
        }
      }
      for (let from = 0; from < writes.length; from += ROWS_PER_TRANSACTION) {
        await redis.transaction(writes.slice(from, from + ROWS_PER_TRANSACTION))
      }
      if (writes.length > 0) observer.wroteTable(table.name, writes.length)
    },
  }
}

function unstored({ reason, message }: { readonly reason: string; readonly message: string }): Rejection {
  return { kind: 'unstored', reason, message, origin: null }
}

function* valuesOf(outcomes: readonly Outcome[]): Iterable<Buffer> {
  for (const { batch } of outcomes) {
    for (let index = 0; index < batch.length; index++) {
      const value = batch.value(index)
      if (value !== null) yield value
    }
  }
}
