import { MillraceError } from '../errors.ts'
import type { ColumnBatch } from './consumer/column-batch.ts'
import type { Slices } from './record-batches/columns.ts'

/** What is known of a record that is given up. */
export interface Rejection extends Subject {
  readonly kind: 'rejected' | 'filtered' | 'unstored'
  readonly reason: string
  /** Names the field; carries no payload. */
  readonly message: string
}

/** Whose record it is, as far as that is known. */
export interface Subject {
  readonly tenant?: string
  readonly eventId?: string
  /** Coordinates in the events topic; by default those of the record itself. Null = it has none there. */
  readonly origin?: { readonly generation: string; readonly offset: number } | null
}

export interface Emission {
  /** Index of the input record. */
  readonly index: number
  readonly key: Buffer | null
  readonly value: Buffer
  /** For the dead letter, should the output turn out too large to be written. */
  readonly subject?: Subject
}

/** Outputs of many records in columns: row i comes from input record `sources[i]`. */
export interface EmittedColumns {
  readonly length: number
  /** Ascending; a record may have several rows. Entries beyond `length` mean nothing. */
  readonly sources: Int32Array
  readonly keys: Slices
  readonly values: Slices
  /** For the dead letter, should the output of a row turn out too large to be written. */
  subjectOf(row: number): Subject
  /** Called at most once, when nobody needs the values any more: their memory may serve others. */
  release?(): void
}

export interface Deferral {
  /** This record and all behind it in its batch wait. */
  readonly index: number
  readonly code: string
  readonly message: string
}

/**
 * The account of one batch: a handler gives every record exactly one fate, and `seal` refuses a batch that it did not.
 *
 *   emit    one or more outputs, each under the name of one of the stage's outputs
 *   done    stored elsewhere by the handler itself (sinks)
 *   reject  a dead letter
 *   defer   not now: this record and everything behind it in the lane is handed in again later
 */
export interface Outcome {
  readonly batch: ColumnBatch
  emit(index: number, output: string, key: Buffer | null, value: Buffer, subject?: Subject): void
  /** The same for many records at once, without an object for each. */
  emitColumns(output: string, rows: EmittedColumns): void
  done(index: number): void
  reject(index: number, rejection: Rejection): void
  /** The first deferral of the lowest index counts; fates given to records behind it are dropped. */
  defer(index: number, code: string, message: string): void
}

export interface SealedOutcome {
  readonly batch: ColumnBatch
  /** Records with an end, always the first ones of the batch. */
  readonly settled: number
  readonly emissions: ReadonlyMap<string, readonly Emission[]>
  /** In the order of the calls; rows of records behind a deferral are still among them. */
  readonly columns: ReadonlyMap<string, readonly EmittedColumns[]>
  readonly rejections: readonly (readonly [index: number, rejection: Rejection])[]
  readonly deferral: Deferral | null
}

export interface OpenOutcome extends Outcome {
  /** Throws `unaccounted_record` (crash) when a record has no fate or two. */
  seal(): SealedOutcome
}

const NONE = 0
const EMITTED = 1
const DONE = 2
const REJECTED = 3

export function openOutcome(batch: ColumnBatch, outputs: readonly string[]): OpenOutcome {
  const fates = new Uint8Array(batch.length)
  const emissions = new Map<string, Emission[]>(outputs.map((output) => [output, []]))
  const columns = new Map<string, EmittedColumns[]>(outputs.map((output) => [output, []]))
  const rejections: [number, Rejection][] = []
  let deferral: Deferral | null = null

  const where = (index: number): string => `record ${index} of ${batch.topic}/${batch.partition}`
  const decide = (index: number, fate: number): void => {
    const before = fates[index]
    if (before === undefined)
      throw new MillraceError('crash', 'unaccounted_record', `${where(index)} is not in the batch`)
    if (before !== NONE && !(before === EMITTED && fate === EMITTED)) {
      throw new MillraceError('crash', 'unaccounted_record', `${where(index)} was given two fates`)
    }
    fates[index] = fate
  }

  return {
    batch,
    emit(index, output, key, value, subject) {
      const list = emissions.get(output)
      if (list === undefined) throw new MillraceError('crash', 'unknown_output', `no output is named ${output}`)
      decide(index, EMITTED)
      list.push({ index, key, value, ...(subject === undefined ? {} : { subject }) })
    },
    emitColumns(output, rows) {
      const list = columns.get(output)
      if (list === undefined) throw new MillraceError('crash', 'unknown_output', `no output is named ${output}`)
      for (let row = 0; row < rows.length; row++) decide(rows.sources[row] as number, EMITTED)
      list.push(rows)
    },
    done(index) {
      decide(index, DONE)
    },
    reject(index, rejection) {
      decide(index, REJECTED)
      rejections.push([index, rejection])
    },
    defer(index, code, message) {
      if (deferral === null || index < deferral.index) deferral = { index, code, message }
    },
    seal() {
      const settled = deferral === null ? batch.length : deferral.index
      for (let index = 0; index < settled; index++) {
        if (fates[index] === NONE) {
          throw new MillraceError('crash', 'unaccounted_record', `${where(index)} was given no fate`)
        }
      }
      const kept = (index: number): boolean => index < settled
      return {
        batch,
        settled,
        emissions: new Map([...emissions].map(([output, list]) => [output, list.filter((e) => kept(e.index))])),
        columns,
        rejections: rejections.filter(([index]) => kept(index)).sort((a, b) => a[0] - b[0]),
        deferral,
      }
    },
  }
}

/**
 * What a stage does with records. Called with at most one batch per partition.
 * Gives each record of each outcome a fate. Throws only what it does not understand (crash), or a `retry` error, after
 * which all batches of the call are handed in again, unchanged.
 */
export interface BatchHandler {
  /** How many calls may overlap, each with other batches; results are put back into order. 1 by default. */
  readonly concurrency?: number
  /**
   * A partition begins, or goes back: its next batch is at or above `from`, and records below `endedBelow` may be left out of
   * it because they have ended before. Awaited before that; for a handler that remembers. Called again with back-off
   * while it rejects with `retry`.
   */
  begin?(partition: number, from: number, endedBelow: number, signal: AbortSignal): Promise<void>
  handle(outcomes: readonly Outcome[]): Promise<void>
}
