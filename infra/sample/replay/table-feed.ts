import type { DataRecord, TimedRecords } from './timed-records.ts'

/**
 * Keeps lookup tables ahead of the events: an event goes only once every row from before its time, and more, is where
 * lookups find it.
 */
export interface TableFeed {
  /** False when an event of that time has to wait for `prepare`. */
  coveredTo(time: number): boolean
  /** Begins to send rows ahead of that time, and waits for those that an event of that time needs. */
  prepare(time: number): Promise<void>
}

export interface TableFeedOptions {
  /** `send` gives a promise when the next row has to wait for it. */
  readonly tables: readonly { readonly rows: TimedRecords; send(row: DataRecord): Promise<void> | null }[]
  /** How far the rows are ahead of the events, ms of data time. */
  readonly leadMs: number
  /** Resolves when lookups find every row sent so far. */
  readonly loaded: () => Promise<void>
  readonly startTime: number
}

export function createTableFeed({ tables, leadMs, loaded, startTime }: TableFeedOptions): TableFeed {
  /** Rows before this time have been sent; before `loadedTo`, they are also in the lookups. */
  let sentTo = startTime
  let loadedTo = startTime
  let loading: Promise<void> | null = null

  async function sendTo(time: number): Promise<void> {
    for (const { rows, send } of tables) {
      for (; rows.head !== null && rows.head.time < time; await rows.advance()) await send(rows.head.record)
    }
    await loaded()
  }

  /** An error waits for the `prepare` that needs the rows. */
  function begin(time: number): void {
    loading = sendTo(time)
    loading.catch(() => {})
    sentTo = time
  }

  const behind = (time: number): boolean => time + leadMs / 2 >= sentTo

  return {
    coveredTo: (time) => tables.length === 0 || (time < loadedTo && (loading !== null || !behind(time))),
    async prepare(time) {
      for (;;) {
        if (loading === null && behind(time)) begin(time + leadMs)
        if (time < loadedTo || loading === null) return
        await loading
        loading = null
        loadedTo = sentTo
      }
    },
  }
}
