import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { BatchHandler, Outcome, Rejection } from '../../infra/runtime/kafka/outcome.ts'
import type { RecordBatch } from '../../infra/runtime/kafka/record-batch.ts'
import type { DeadLetterReason } from '../../schemas/dead-letter-reasons.ts'
import type { RowInserter } from './insert-rows.ts'
import type { RecordOrigin, Row, RowKind } from './stored-row.ts'

export interface TableSinkDeps<T> {
  readonly reader: AvroReader<T>
  readonly rows: RowKind<T>
  readonly inserter: RowInserter
  readonly clock: Clock
  readonly observer: TableSinkObserver
}

/** Called once per insert; must not throw. */
export interface TableSinkObserver {
  stored(insert: {
    readonly table: string
    readonly rows: readonly Row[]
    readonly refused: number
    readonly seconds: number
  }): void
}

interface PendingRow {
  readonly outcome: Outcome
  readonly index: number
  readonly row: Row
  readonly origin: RecordOrigin
}

/** Of a record that needs no insert. */
type Fate =
  | { readonly outcome: Outcome; readonly index: number; readonly end: 'done' }
  | { readonly outcome: Outcome; readonly index: number; readonly end: 'rejected'; readonly rejection: Rejection }
  | { readonly outcome: Outcome; readonly index: number; readonly end: 'deferred'; readonly message: string }

/**
 * Stores the records of all batches of a call with one insert. A record is done once that was answered; nothing is
 * decided before, so that a call which fails leaves no trace in the outcomes. A record without a row ends as unstored.
 */
export function createTableSink<T>(deps: TableSinkDeps<T>): BatchHandler {
  const { reader, rows, inserter, clock, observer } = deps

  function sort(outcome: Outcome, pending: PendingRow[], decided: Fate[]): void {
    const { batch } = outcome
    for (let index = 0; index < batch.length; index++) {
      const decoded = reader.decode(batch.value(index))
      if (!decoded.ok && decoded.pending) {
        decided.push({ outcome, index, end: 'deferred', message: decoded.message })
        return
      }
      if (!decoded.ok) {
        const rejection = unstored(decoded.reason, decoded.message, { origin: null })
        decided.push({ outcome, index, end: 'rejected', rejection })
        continue
      }
      const result = rows.row(decoded.record, batch, index)
      if (result.kind === 'row') pending.push({ outcome, index, row: result.row, origin: result.origin })
      else if (result.kind === 'skip') decided.push({ outcome, index, end: 'done' })
      else decided.push({ outcome, index, end: 'rejected', rejection: result.rejection })
    }
  }

  return {
    async handle(outcomes) {
      await reader.prepare(valuesOf(outcomes.map(({ batch }) => batch)))
      const pending: PendingRow[] = []
      const decided: Fate[] = []
      for (const outcome of outcomes) sort(outcome, pending, decided)

      if (pending.length > 0) {
        const startedAt = clock.monotonic()
        const refused = await inserter.insert(pending.map(({ row }) => row))
        const seconds = (clock.monotonic() - startedAt) / 1_000
        pending.forEach(({ outcome, index, origin }, at) => {
          const message = refused.get(at)
          if (message === undefined) decided.push({ outcome, index, end: 'done' })
          else decided.push({ outcome, index, end: 'rejected', rejection: unstored('unstorable', message, origin) })
        })
        const stored = pending.filter((_, at) => !refused.has(at)).map(({ row }) => row)
        observer.stored({ table: rows.table, rows: stored, refused: refused.size, seconds })
      }
      for (const fate of decided) settle(fate)
    },
  }
}

function settle(fate: Fate): void {
  const { outcome, index } = fate
  if (fate.end === 'done') outcome.done(index)
  else if (fate.end === 'rejected') outcome.reject(index, fate.rejection)
  else outcome.defer(index, 'unknown_schema', fate.message)
}

function unstored(reason: DeadLetterReason, message: string, origin: RecordOrigin): Rejection {
  return { kind: 'unstored', reason, message, ...origin }
}

function* valuesOf(batches: readonly RecordBatch[]): Iterable<Buffer | null> {
  for (const batch of batches) {
    for (let index = 0; index < batch.length; index++) yield batch.value(index)
  }
}
