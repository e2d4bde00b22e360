import { setTimeout as delay } from 'node:timers/promises'
import type { EngineConnection } from './engine.ts'
import { EndpointError } from './errors.ts'
import { literal } from './sql-text.ts'

/**
 * Every request from its first byte on, as a server lists its queries. The engine knows of one only once it runs there: until
 * then its body is being received, or it waits for a slot.
 */
export interface Arrivals {
  /** Runs a request's work. It calls `begin` before it goes into the engine, which throws when the request was killed before. */
  track<T>(queryId: string, work: (begin: () => void) => Promise<T>): Promise<T>
  /**
   * Before KILL QUERY goes into the engine: ends those of its queries that have not begun, and waits until the engine knows of the
   * others, or they are over.
   */
  kill(predicate: string, own: string, root: EngineConnection): Promise<void>
}

interface Arrival {
  readonly queryId: string
  begun: boolean
  killed: boolean
}

const PAUSE_MS = 5

export function createArrivals(): Arrivals {
  const here = new Set<Arrival>()

  /** A predicate about columns that only the engine's list has names none of these. */
  async function matching(predicate: string, own: string, root: EngineConnection): Promise<readonly Arrival[]> {
    const others = [...here].filter(({ queryId }) => queryId !== own)
    if (others.length === 0 || !predicate.includes('log_comment')) return []
    const ids = others.map(({ queryId }) => literal(queryId)).join(', ')
    const listed = `SELECT arrayJoin([${ids}]) AS id, map('log_comment', id) AS Settings, 'default' AS user`
    const found = new Set(await firstColumn(root, `SELECT id FROM (${listed}) WHERE ${predicate}`))
    return others.filter(({ queryId }) => found.has(queryId))
  }

  return {
    async track(queryId, work) {
      const arrival: Arrival = { queryId, begun: false, killed: false }
      here.add(arrival)
      try {
        return await work(() => {
          if (arrival.killed) throw new EndpointError(394, 'QUERY_WAS_CANCELLED', 'Query was cancelled')
          arrival.begun = true
        })
      } finally {
        here.delete(arrival)
      }
    },

    async kill(predicate, own, root) {
      const found = await matching(predicate, own, root)
      for (const arrival of found) if (!arrival.begun) arrival.killed = true
      const begun = found.filter((arrival) => arrival.begun)
      for (;;) {
        const listed = begun.length === 0 ? new Set() : await listedIn(root)
        if (begun.every((arrival) => !here.has(arrival) || listed.has(arrival.queryId))) return
        await delay(PAUSE_MS)
      }
    },
  }
}

async function listedIn(root: EngineConnection): Promise<ReadonlySet<string>> {
  return new Set(
    await firstColumn(root, "SELECT Settings['log_comment'] FROM system.processes WHERE Settings['log_comment'] != ''"),
  )
}

async function firstColumn(root: EngineConnection, sql: string): Promise<readonly string[]> {
  const { bytes } = await root.query(sql, 'JSONCompactEachRow')
  const lines = bytes.toString().split('\n').filter(Boolean)
  return lines.map((line) => String((JSON.parse(line) as unknown[])[0]))
}
