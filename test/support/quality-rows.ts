import type { Prediction } from '../../schemas/generated/records.ts'
import { DEFAULT_MONITOR } from '../../schemas/pipeline/monitor.ts'
import { labelRows } from '../../sinks/clickhouse/label-rows.ts'
import { predictionRows } from '../../sinks/clickhouse/prediction-rows.ts'
import type { Row, RowResult } from '../../sinks/clickhouse/stored-row.ts'
import type { DriftRound } from '../../sinks/drift/drift-part.ts'
import { createQuality } from '../../sinks/drift/quality/quality.ts'
import type { TestDatabase } from './clickhouse-database.ts'
import { memoryBatch } from './memory-kafka.ts'
import { predictionOf } from './predictions.ts'

export const HOUR = 3_600_000
export const DAY_ONE = Date.UTC(2026, 0, 5)

export interface StoredLabel {
  readonly id: string
  /** Null withdraws. */
  readonly truth: boolean | number | string | null
  readonly at: number
}

/** Predictions and labels of a pipeline as its sinks would store them, record by record. */
export function qualityRows(database: TestDatabase, pipeline: string) {
  const offsets = { predictions: 0, shadow_predictions: 0, labels: 0 }

  function rowsOf<T>(
    table: keyof typeof offsets,
    records: readonly T[],
    row: (record: T, batch: ReturnType<typeof memoryBatch>) => RowResult,
  ): readonly Row[] {
    return records.map((record) => {
      const offset = offsets[table]++
      const timestamp = (table === 'shadow_predictions' ? Date.now() : DAY_ONE) + offset
      const result = row(record, memoryBatch({ topic: 't', partition: 0, offsets: [offset], records: [{ timestamp }] }))
      if (result.kind !== 'row') throw new Error(`a row is expected, not a ${result.kind}`)
      return result.row
    })
  }

  return {
    offsets,
    async predict(
      changes: readonly Partial<Prediction>[],
      table: 'predictions' | 'shadow_predictions' = 'predictions',
    ): Promise<void> {
      const kind = predictionRows(pipeline, table)
      const rows = rowsOf(table, changes.map(predictionOf), (record, batch) => kind.row(record, batch, 0))
      await database.client.insert(kind.table, Object.keys(kind.types), rows)
    },
    async label(labels: readonly StoredLabel[]): Promise<void> {
      const kind = labelRows({
        pipeline,
        label: {
          idField: 'id',
          timeField: 'at',
          value: ({ truth }) => truth as StoredLabel['truth'],
          withdrawable: true,
        },
        tenant: { fixed: 'main' },
      })
      const rows = rowsOf('labels', labels, (record, batch) => kind.row({ ...record }, batch, 0))
      await database.client.insert(kind.table, Object.keys(kind.types), rows)
    },
    /** Rounds until there is nothing more to do. */
    async watch(
      round: Partial<DriftRound> & { readonly seenUntil: number },
      options: { readonly minRows?: number; readonly threshold?: number; readonly maxRecords?: number } = {},
    ): Promise<number> {
      const { maxRecords, ...monitor } = options
      const quality = createQuality({
        pipeline,
        monitor: { ...DEFAULT_MONITOR, minRows: 1, ...monitor },
        clickhouse: database.client,
        clock: { monotonic: () => performance.now() },
        ...(maxRecords === undefined ? {} : { maxRecords }),
      })
      for (let rounds = 1; ; rounds++) {
        if (rounds > 100) throw new Error('the rounds do not end')
        const more = await quality.round({ profile: null, signal: new AbortController().signal, ...round })
        if (!more) return rounds
      }
    },
  }
}
