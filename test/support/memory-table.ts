import { rejected, retryable } from '../../infra/runtime/errors.ts'
import type { SealedStore } from '../../sinks/clickhouse/sealed/sealed-store.ts'

/**
 * How a request goes wrong. The answer is lost in all but `ok` and `half-way`:
 *
 *   ok          it does not
 *   landed      the rows are there
 *   absent      the server did nothing
 *   half-way    the rows are there, and what follows (a view) refuses the insert
 *   token-only  the server was killed between noting the token and having the rows
 *   running     the server still works on it: the rows are there later, unless it is ended before
 */
export type TableFault = 'ok' | 'landed' | 'absent' | 'half-way' | 'token-only' | 'running'

export interface StoredCopy {
  readonly partition: number
  readonly offset: number
  readonly token: string
}

/** One table of ClickHouse with its deduplication log, as the sealed-batch protocol meets it. */
export interface MemoryTable extends SealedStore {
  readonly rows: readonly StoredCopy[]
  readonly inserts: readonly { readonly token: string; readonly rows: number }[]
  /** What still runs lands. */
  settle(): void
}

export interface MemoryTableOptions {
  readonly fault?: (what: 'insert' | 'end' | 'read') => TableFault
  /** Rows that do not fit the table, by their offset. */
  readonly refuses?: (offset: number) => boolean
}

export function memoryTable({ fault = () => 'ok', refuses = () => false }: MemoryTableOptions = {}): MemoryTable {
  const rows: StoredCopy[] = []
  const inserts: { token: string; rows: number }[] = []
  const tokens = new Set<string>()
  let running: { readonly lane: string; readonly run: () => void }[] = []
  const lost = () => retryable('clickhouse_unavailable', 'no answer')

  function settle(): void {
    for (const { run } of running) run()
    running = []
  }

  return {
    table: 'memory',
    rows,
    inserts,
    settle,
    async insert(body, { lane, token }) {
      // what still runs reads the body when it lands: nobody may have written into it meanwhile
      const read = (): StoredCopy[] =>
        body
          .toString()
          .trimEnd()
          .split('\n')
          .map((line) => {
            const { kafka_partition: partition, kafka_offset: offset } = JSON.parse(line) as Record<string, number>
            return { partition: partition as number, offset: offset as number, token }
          })
      const coming = read()
      inserts.push({ token, rows: coming.length })
      const land = (): void => {
        if (tokens.has(token)) return
        tokens.add(token)
        rows.push(...read())
      }
      const how = fault('insert')
      if (how === 'absent') throw lost()
      if (coming.some(({ offset }) => refuses(offset))) throw rejected('clickhouse_refused_rows', 'does not fit')
      if (how === 'token-only') tokens.add(token)
      else if (how === 'running') running.push({ lane, run: land })
      else land()
      if (how === 'half-way') throw rejected('clickhouse_refused_rows', 'does not fit the view')
      if (how !== 'ok') throw lost()
    },
    async endInserts(lane) {
      if (fault('end') !== 'ok') throw lost()
      running = running.filter((insert) => insert.lane !== lane)
    },
    async stored({ partition, a, b }) {
      if (fault('read') !== 'ok') throw lost()
      const found = new Map<number, number>()
      for (const row of rows) {
        if (row.partition !== partition || row.offset < a || row.offset >= b) continue
        found.set(row.offset, (found.get(row.offset) ?? 0) + 1)
      }
      return found
    },
    async storedBelow(_, partition) {
      if (fault('read') !== 'ok') throw lost()
      return Math.max(0, ...rows.filter((row) => row.partition === partition).map(({ offset }) => offset + 1))
    },
  }
}
