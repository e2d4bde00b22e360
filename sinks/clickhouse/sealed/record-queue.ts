import type { AvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { WIRE_HEADER_BYTES } from '../../../infra/runtime/avro/wire-format.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { Rejection } from '../../../infra/runtime/kafka/outcome.ts'
import type { RecordOrigin } from '../stored-row.ts'
import { type CheckedResult, unstored } from './check-row.ts'
import type { OpenChunk } from './chunk.ts'

/**
 * What a call of `fill` has come to:
 *
 *   more     the oldest batch is in the chunk, or has to be prepared: call it again
 *   close    the chunk is complete; the next record belongs into another one
 *   pending  the registry does not know the schema of the record at `offset` yet
 *   barred   the record at `offset` can neither be stored nor be given up
 */
export type Filled =
  | { readonly step: 'more' | 'close' }
  | { readonly step: 'pending'; readonly offset: number }
  | { readonly step: 'barred'; readonly offset: number; readonly rejection: Rejection }

/** Records of one partition that are in no chunk yet, in their order. */
export interface RecordQueue {
  add(batch: ColumnBatch): void
  isEmpty(): boolean
  /** Forgets them all. */
  clear(): void
  /** Fetches the schemas of the oldest batch; rejects like the reader. */
  prepare(): Promise<void>
  /** Puts records of the oldest batch into the chunk; `until` = the end of the announced chunk that it has to become. */
  fill(open: OpenChunk, until: number | null, now: number): Filled
  /** Whose record it is; decodes it again. */
  originOf(batch: ColumnBatch, index: number): RecordOrigin
}

export interface RecordQueueOptions<T> {
  readonly reader: AvroReader<T>
  readonly check: (record: T, batch: ColumnBatch, index: number) => CheckedResult
  /** Whether the record has ended already, as a dead letter of an earlier owner. */
  readonly ended: (offset: number) => boolean
  /** Whether what cannot be stored may become a dead letter. */
  readonly mayReject: boolean
}

const MORE: Filled = { step: 'more' }
const CLOSE: Filled = { step: 'close' }

export function createRecordQueue<T>({ reader, check, ended, mayReject }: RecordQueueOptions<T>): RecordQueue {
  const queue: ColumnBatch[] = []
  let next = 0
  let prepared = false

  function decode(batch: ColumnBatch, index: number): CheckedResult | 'pending' {
    const decoded = reader.decode(batch.value(index))
    if (decoded.ok) return check(decoded.record, batch, index)
    if (decoded.pending) return 'pending'
    return { kind: 'rejection', rejection: unstored(decoded.reason, decoded.message, { origin: null }) }
  }

  /** Null = the record is in the chunk. */
  function put(open: OpenChunk, batch: ColumnBatch, index: number, announced: boolean, now: number): Filled | null {
    const offset = batch.offsets[index] as number
    if (ended(offset)) {
      open.addEnded(batch, index, now)
      return null
    }
    if (open.native?.read(batch, index) === true) return open.addRead(batch, index, now) ? null : CLOSE
    const result = decode(batch, index)
    if (result === 'pending') {
      prepared = false
      return open.records > 0 && !announced ? CLOSE : { step: 'pending', offset }
    }
    switch (result.kind) {
      case 'skip':
        open.addEnded(batch, index, now)
        return null
      case 'row':
        return open.addRow(batch, index, result.row, now) ? null : CLOSE
      case 'rejection':
        if (!mayReject)
          return open.records > 0 && !announced ? CLOSE : { step: 'barred', offset, rejection: result.rejection }
        open.addRejected(batch, index, result.rejection, now)
        return null
    }
  }

  return {
    add: (batch) => void queue.push(batch),
    isEmpty: () => queue.length === 0,
    clear() {
      queue.length = 0
      next = 0
      prepared = false
    },
    originOf(batch, index) {
      const result = decode(batch, index)
      return result !== 'pending' && result.kind === 'row' ? result.row.origin : { origin: null }
    },
    async prepare() {
      const batch = queue[0]
      if (batch === undefined || prepared) return
      await reader.prepareIds(schemaIdsOf(batch))
      prepared = true
    },
    fill(open, until, now) {
      const batch = queue[0]
      if (batch === undefined) return MORE
      for (; next < batch.length; next++) {
        if (until !== null && (batch.offsets[next] as number) >= until) {
          open.skipTo(until)
          return CLOSE
        }
        const problem = put(open, batch, next, until !== null, now)
        if (problem !== null) return problem
        if (open.isFull()) {
          next += 1
          break
        }
      }
      if (next === batch.length) {
        queue.shift()
        next = 0
        prepared = false
      }
      return open.isFull() ? CLOSE : MORE
    },
  }
}

/** Without a view of each value: those of a batch are of one schema or a few. */
function schemaIdsOf({ values, length }: ColumnBatch): ReadonlySet<number> {
  const { bytes, starts, lengths } = values
  const ids = new Set<number>()
  let last = -1
  for (let row = 0; row < length; row++) {
    const start = starts[row] as number
    if ((lengths[row] as number) < WIRE_HEADER_BYTES || bytes[start] !== 0) continue
    const id = bytes.readInt32BE(start + 1)
    if (id !== last) ids.add(id)
    last = id
  }
  return ids
}
