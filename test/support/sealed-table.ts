import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { createSpareMemory } from '../../infra/runtime/spare-memory.ts'
import { type Chunk, openChunk, pendOf } from '../../sinks/clickhouse/sealed/chunk.ts'
import { type Landed, landChunk } from '../../sinks/clickhouse/sealed/land-chunk.ts'
import type { Pend } from '../../sinks/clickhouse/sealed/pend.ts'
import { createSealedStore, type SealedStore } from '../../sinks/clickhouse/sealed/sealed-store.ts'
import type { RowKind } from '../../sinks/clickhouse/stored-row.ts'
import { SOURCE_TYPES } from '../../sinks/clickhouse/stored-row.ts'
import { memoryBatch } from './memory-kafka.ts'

/** A table as ours are, with nothing but where its rows come from and a text. */
export const marksTable: RowKind<never> = {
  table: 'marks',
  types: { text: 'String', ...SOURCE_TYPES },
  partitionBy: null,
  row: () => ({ kind: 'skip' }),
}

/** `delayMs` = how long the server works on each row of an insert. */
export const marksDdl = (delayMs = 0): string => `CREATE TABLE marks (
  text String, written_at DateTime64(3, 'UTC'), kafka_generation LowCardinality(String), kafka_partition Int32,
  kafka_offset UInt64${delayMs > 0 ? `, slow UInt8 MATERIALIZED sleepEachRow(${delayMs / 1_000})` : ''}
) ENGINE = ReplacingMergeTree ORDER BY (kafka_generation, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000`

/** Rows [a, b) of partition 0; `textOf` may give what ClickHouse refuses. */
export function marksChunk(a: number, b: number, textOf: (offset: number) => string = String): Chunk {
  const count = b - a
  const batch = memoryBatch({ topic: 't', partition: 0, offsets: Array.from({ length: count }, (_, at) => a + at) })
  const open = openChunk({ maxRows: count, maxBytes: 100_000_000, lingerMs: 0 }, null, createSpareMemory(0))
  for (let index = 0; index < count; index++) {
    const offset = a + index
    const values = {
      text: textOf(offset),
      written_at: 1_700_000_000_000 + offset,
      kafka_generation: 'id',
      kafka_partition: 0,
      kafka_offset: offset,
    }
    open.addRow(batch, index, { values, origin: {}, tablePartition: 0, time: null, latencyMs: null }, 0)
  }
  return open.close(a)
}

export interface LandOptions {
  readonly takenOver?: boolean
  readonly pend?: Pend
  /** Called before each new look at the chunk; by default there is none. */
  readonly again?: (error: unknown) => Promise<void>
}

export async function land(
  store: SealedStore,
  chunk: Chunk,
  { takenOver = false, pend = pendOf(chunk), again }: LandOptions = {},
): Promise<Landed & { readonly attempts: number }> {
  let attempts = 0
  const landed = await landChunk(chunk, pend, takenOver, {
    store,
    generation: 'id',
    partition: 0,
    owned: async () => {},
    announce: async ({ attempt }) => {
      attempts = attempt
    },
    again: again ?? ((error) => Promise.reject(retryable('unexpected', 'looked at again', error))),
  })
  return { ...landed, attempts }
}

export const marksStore = (client: ClickHouseClient, database: string): SealedStore =>
  createSealedStore(client, database, marksTable)

/** Physically: every copy counts. */
export async function marksOf(client: ClickHouseClient): Promise<{ readonly rows: number; readonly offsets: number }> {
  const [counts] = await client.rows<{ n: string; distinct: string }>(
    'SELECT count() AS n, uniqExact(kafka_generation, kafka_partition, kafka_offset) AS distinct FROM marks',
  )
  return { rows: Number(counts?.n), offsets: Number(counts?.distinct) }
}
