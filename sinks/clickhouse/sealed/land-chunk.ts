import { killPoint } from '#kill-points'
import { fateOf } from '../../../infra/runtime/errors.ts'
import { type Chunk, chunkHash, partOf } from './chunk.ts'
import type { Pend } from './pend.ts'
import type { SealedStore } from './sealed-store.ts'

/** What landing needs of the partition's owner. */
export interface Landing {
  readonly store: SealedStore
  readonly generation: string
  readonly partition: number
  /** Resolves while the partition is ours; rejects, and nothing more is sent, once it is not. */
  owned(): Promise<void>
  /** Commits the chunk with its next attempt; the same rejection. */
  announce(pend: Pend): Promise<void>
  /** Waits before the chunk is looked at again; rejects once the partition is not ours any more. */
  again(error: unknown): Promise<void>
}

export interface Landed {
  /** What ClickHouse refused, alone as well as in its chunk: message by index of the row. */
  readonly refused: ReadonlyMap<number, string>
  /** How often each offset was there when it was read back last; empty when nothing had to be. */
  readonly stored: ReadonlyMap<number, number>
  /** All was answered OK at its first try: nobody reads the rows any more. */
  readonly atOnce: boolean
}

/** Names everything that this lane inserts. */
export const laneName = (table: string, generation: string, partition: number): string =>
  `${table}/${generation}/${partition}`

/** Names the very rows of a chunk. ClickHouse takes a token once and answers OK to any other rows under it. */
export function chunkToken(lane: string, { a, b, hash, attempt }: Pend): string {
  return `${lane}/${a}-${b}/${hash}/${attempt}`
}

/**
 * What is to be done about an announced chunk whose inserts were not all answered OK at their first try:
 *
 *   rows there   all inserts of the round answered OK   step
 *   all          –                                      landed
 *   not all      no, or none was sent yet               insert what is missing under the same tokens
 *   not all      yes                                    raise the attempt (announced first), then insert under new tokens
 *
 * The same tokens, because an insert that nobody waits for any more may still be running: under another one it would
 * land twice. A new attempt, because a server that was killed may know a token without having the rows.
 */
export function nextStep(missing: number, answered: boolean): 'landed' | 'insert' | 'raise' {
  if (missing === 0) return 'landed'
  return answered ? 'raise' : 'insert'
}

/**
 * Brings the rows of an announced chunk into the table, once each. `pend` says what was announced: taken over, its hash may be
 * of other rows than these (the code has changed), and what is there decides. Resolves when every row is there or refused.
 */
export async function landChunk(chunk: Chunk, pend: Pend, takenOver: boolean, landing: Landing): Promise<Landed> {
  const { store, generation, partition } = landing
  const lane = laneName(store.table, generation, partition)
  const refused = new Map<number, string>()
  const parts = rowsByTablePartition(chunk)
  let announced = pend
  let stored: ReadonlyMap<number, number> = new Map()
  const sameRows = !takenOver || chunkHash(chunk) === pend.hash
  let uncertain = takenOver
  let atOnce = !takenOver
  let answered = false

  async function readBack(): Promise<ReadonlySet<number>> {
    await landing.owned()
    await store.endInserts(lane)
    const range = { generation, partition, a: pend.a, b: pend.b, times: sameRows ? chunk.times : null }
    stored = await store.stored(range)
    const missing = new Set<number>()
    chunk.offsets.forEach((offset, row) => {
      if (!stored.has(offset) && !refused.has(row)) missing.add(row)
    })
    return missing
  }

  /** Which of these are not there. */
  async function missingOf(rows: readonly number[]): Promise<ReadonlySet<number>> {
    const [a, b] = [chunk.offsets[rows[0] as number] as number, (chunk.offsets[rows.at(-1) as number] as number) + 1]
    const there = await store.stored({ generation, partition, a, b, times: sameRows ? chunk.times : null })
    return new Set(rows.filter((row) => !there.has(chunk.offsets[row] as number) && !refused.has(row)))
  }

  async function insert(rows: readonly number[], missing: ReadonlySet<number> | null): Promise<void> {
    const wanted = missing === null ? rows.length : rows.filter((row) => missing.has(row)).length
    if (wanted === 0) return
    if (wanted < rows.length) return await insertHalves(rows, missing)
    await landing.owned()
    killPoint('sealed-not-inserted')
    try {
      await store.insert(partOf(chunk, rows), { lane, token: tokenOf(rows) })
      killPoint('inserted-unanswered')
    } catch (error) {
      atOnce = false
      if (fateOf(error) !== 'reject') throw error
      // a view behind the table may have refused what the table has
      const left = await missingOf(rows)
      if (rows.length > 1) return await insertHalves(rows, left)
      if (left.size > 0) refused.set(rows[0] as number, (error as Error).message)
    }
  }

  async function insertHalves(rows: readonly number[], missing: ReadonlySet<number> | null): Promise<void> {
    const half = Math.ceil(rows.length / 2)
    await insert(rows.slice(0, half), missing)
    await insert(rows.slice(half), missing)
  }

  /** A part of a chunk is halved in the same way each time, so its bounds name its rows. */
  function tokenOf(rows: readonly number[]): string {
    const token = chunkToken(lane, announced)
    if (rows.length === chunk.rows) return token
    return `${token}/${chunk.offsets[rows[0] as number]}-${chunk.offsets[rows.at(-1) as number]}`
  }

  for (;;) {
    try {
      const missing = uncertain ? await readBack() : null
      if (missing !== null) {
        const step = nextStep(missing.size, answered)
        if (step === 'landed') return { refused, stored, atOnce }
        if (step === 'raise') {
          announced = { ...announced, attempt: announced.attempt + 1 }
          await landing.announce(announced)
          // tokens that nobody has used: an OK is as good as that of a first try. Rows that a later version of the same
          // key has replaced are not there either, and end here
          uncertain = false
        }
      }
      answered = false
      for (const rows of parts) await insert(rows, missing)
      if (!uncertain) return { refused, stored, atOnce }
      answered = true
    } catch (error) {
      if (fateOf(error) !== 'retry') throw error
      uncertain = true
      await landing.again(error)
    }
  }
}

/** An insert is atomic within one partition of the table. */
function rowsByTablePartition({ tablePartitions }: Chunk): readonly (readonly number[])[] {
  const parts = new Map<number, number[]>()
  tablePartitions.forEach((tablePartition, row) => {
    const rows = parts.get(tablePartition)
    if (rows === undefined) parts.set(tablePartition, [row])
    else rows.push(row)
  })
  return [...parts.values()]
}
