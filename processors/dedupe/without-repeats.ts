import type { BatchHandler, EmittedColumns, Outcome, Rejection, Subject } from '../../infra/runtime/kafka/outcome.ts'
import { pickSlices } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { createRecentIds, ownedId, type RecentIds } from './recent-ids.ts'

export interface WithoutRepeatsOptions {
  readonly window: number
  /** Header of a replayed dead letter: its id was seen before, and it counts all the same. */
  readonly replayOfHeader: string
  /** Ids (`ownedId`) of the partition's events in [from, to), by offset; what has none is left out. */
  readonly readBack: (
    partition: number,
    range: { readonly from: number; readonly to: number },
    signal: AbortSignal,
  ) => AsyncIterable<{ readonly offset: number; readonly id: string }>
}

type Fate = { readonly subject: Subject | undefined; readonly give: (repeat: Rejection | null) => void }

/**
 * The handler of events, but a tenant's second event of an id ends as `filtered: duplicate_event_id`. The ids are those that the
 * handler gives as the subjects of its outputs and rejections; a record without an id repeats nothing.
 */
export function withoutRepeats(handler: BatchHandler, options: WithoutRepeatsOptions): BatchHandler {
  const lanes = new Map<number, RecentIds>()

  function recent(partition: number): RecentIds {
    const known = lanes.get(partition) ?? createRecentIds(options.window)
    lanes.set(partition, known)
    return known
  }

  function isRepeat({ batch }: Outcome, index: number, subject: Subject | undefined): boolean {
    const { tenant = '', eventId = '' } = subject ?? {}
    if (eventId === '') return false
    const repeat = recent(batch.partition).isRepeat(batch.offset(index), ownedId(tenant, eventId))
    return repeat && batch.header(index, options.replayOfHeader) === null
  }

  /** Offsets have to ascend, whatever the order in which the handler decides. */
  function settle(outcome: Outcome, fates: ReadonlyMap<number, Fate>): void {
    for (const [index, { subject, give }] of [...fates].sort(([a], [b]) => a - b)) {
      give(isRepeat(outcome, index, subject) ? repeatOf(subject?.eventId) : null)
    }
  }

  return {
    // one after the other, so that the ids of a partition come in the order of its offsets
    concurrency: 1,
    async begin(partition, from, endedBelow, signal) {
      await handler.begin?.(partition, from, endedBelow, signal)
      const ids = recent(partition)
      const missing = ids.rewind(from)
      // with what the handler will not be given: it counts all the same
      const range = { from: missing?.from ?? from, to: Math.max(from, endedBelow) }
      if (range.from === range.to) return
      for await (const { offset, id } of options.readBack(partition, range, signal)) ids.isRepeat(offset, id)
    },
    async handle(outcomes) {
      const held = outcomes.map((outcome) => holdBack(outcome))
      await handler.handle(held.map((each) => each.outcome))
      for (const [at, outcome] of outcomes.entries()) {
        const { fates, finish } = held[at] as (typeof held)[number]
        settle(outcome, fates)
        finish()
      }
    },
  }
}

/** An outcome that keeps what the handler decides, by record. */
function holdBack(outcome: Outcome): {
  readonly outcome: Outcome
  readonly fates: ReadonlyMap<number, Fate>
  finish(): void
} {
  const fates = new Map<number, Fate>()
  const columns: { readonly output: string; readonly rows: EmittedColumns; readonly repeats: Set<number> }[] = []
  const reject = (index: number, rejection: Rejection) => outcome.reject(index, rejection)

  function hold(index: number, subject: Subject | undefined, give: Fate['give']): void {
    const before = fates.get(index)
    fates.set(index, {
      subject: before?.subject?.eventId === undefined ? subject : before.subject,
      give(repeat) {
        before?.give(repeat)
        // a record with several outputs is rejected once
        if (repeat === null || before === undefined) give(repeat)
      },
    })
  }

  return {
    fates,
    outcome: {
      batch: outcome.batch,
      emit(index, output, key, value, subject) {
        hold(index, subject, (repeat) => {
          if (repeat === null) outcome.emit(index, output, key, value, subject)
          else reject(index, { ...subject, ...repeat })
        })
      },
      emitColumns(output, rows) {
        const repeats = new Set<number>()
        columns.push({ output, rows, repeats })
        for (let row = 0; row < rows.length; row++) {
          const subject = rows.subjectOf(row)
          hold(rows.sources[row] as number, subject, (repeat) => {
            if (repeat === null) return
            repeats.add(rows.sources[row] as number)
            reject(rows.sources[row] as number, { ...subject, ...repeat })
          })
        }
      },
      done: (index) => hold(index, undefined, () => outcome.done(index)),
      reject: (index, rejection) => hold(index, rejection, () => reject(index, rejection)),
      defer: (index, code, message) => outcome.defer(index, code, message),
    },
    finish() {
      for (const { output, rows, repeats } of columns) outcome.emitColumns(output, withoutSources(rows, repeats))
    },
  }
}

function withoutSources(rows: EmittedColumns, sources: ReadonlySet<number>): EmittedColumns {
  if (sources.size === 0) return rows
  const kept = Int32Array.from(
    Array.from({ length: rows.length }, (_, row) => row).filter((row) => !sources.has(rows.sources[row] as number)),
  )
  return {
    length: kept.length,
    sources: kept.map((row) => rows.sources[row] as number),
    keys: pickSlices(rows.keys, kept),
    values: pickSlices(rows.values, kept),
    subjectOf: (row) => rows.subjectOf(kept[row] as number),
  }
}

function repeatOf(id: string | undefined): Rejection {
  return {
    kind: 'filtered',
    reason: 'duplicate_event_id',
    message: 'an event with this id was read shortly before',
    ...(id === undefined ? {} : { eventId: id }),
  }
}
