import { readdirSync, readFileSync } from 'node:fs'
import type { MicroBatcher, Work } from '../../../inference/batching/micro-batcher.ts'
import { BATCHES_AT_ONCE, INFERENCE } from '../../../inference/config.ts'
import { type BareModel, WIDTH } from './models.ts'

/** Distinct rows that inputs rotate over: the same row again and again would teach the processor its way through a tree. */
export const DISTINCT_ROWS = 16_384
export const LANES = 6
/** What a hop takes at once, by default, and how often before the first are answered. */
export const TAKE_ROWS = Number(INFERENCE.maxRows.fallback)
const TAKES = BATCHES_AT_ONCE
/** Rows of one partition that it fetches at once, which are 1 MiB: takes are equal parts of them. */
const FETCHED_ROWS = Math.floor(2 ** 20 / 180)

/** What was done, and what it took of this process and its children together. */
export interface Done {
  readonly rows: number
  readonly ms: number
  readonly cpuMs: number
}

export const perSecond = ({ rows, ms }: Pick<Done, 'rows' | 'ms'>): number => (rows * 1_000) / ms
export const perCpuSecond = ({ rows, cpuMs }: Pick<Done, 'rows' | 'cpuMs'>): number => (rows * 1_000) / cpuMs

const NS_PER_MS = 1_000_000

/** CPU time of this process and of its children, ms. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1').split(' ').filter(Boolean)
  let ofChildren = 0
  for (const child of children) {
    // by thread, in ns: ticks of 10 ms are too coarse for turns of 100
    for (const thread of readdirSync(`/proc/${child}/task`)) {
      const [ns] = readFileSync(`/proc/${child}/task/${thread}/schedstat`, 'latin1').split(' ')
      ofChildren += Number(ns) / NS_PER_MS
    }
  }
  return (user + system) / 1_000 + ofChildren
}

/** What a turn leaves behind is collected in it: the runtime alone makes so little garbage that its outputs would be freed in our turns. */
function collect(): void {
  if (globalThis.gc === undefined) throw new Error('give node --expose-gc')
  globalThis.gc({ type: 'minor' })
}

async function timed(work: () => Promise<number>): Promise<Done> {
  collect()
  const startedAt = performance.now()
  const cpuBefore = cpuMs()
  const rows = await work()
  const ms = performance.now() - startedAt
  collect()
  return { rows, ms, cpuMs: cpuMs() - cpuBefore }
}

/** Calls `next`, which answers how many rows it has done, until the time is over. */
export async function repeated(ms: number, next: () => Promise<number>): Promise<Done> {
  return await timed(async () => {
    const until = performance.now() + ms
    let rows = 0
    while (performance.now() < until) rows += await next()
    return rows
  })
}

/** Where the next of so many rows begin; at their start again when they are through. */
function rotating(total: number): (rows: number) => number {
  let at = 0
  return (rows) => {
    if (at + rows > total) at = 0
    const from = at
    at += rows
    return from
  }
}

/** So many rows, next to those of the run before; answers their number. */
export type RunAlone = (rows: number) => Promise<number>

/** The runtime alone, over its distinct rows. What each run took is added to `took`, ms. */
export function runsAlone(bare: BareModel, took: number[] = []): RunAlone {
  const next = rotating(DISTINCT_ROWS)
  return async (rows) => {
    const from = next(rows)
    const startedAt = performance.now()
    await bare.run(from, from + rows)
    took.push(performance.now() - startedAt)
    return rows
  }
}

/** Rows of the pool, again from its start when it is through. */
export function rotation(pool: Float32Array): (rows: number) => Float32Array {
  const next = rotating(pool.length / WIDTH)
  return (rows) => {
    const from = next(rows)
    return pool.subarray(from * WIDTH, (from + rows) * WIDTH)
  }
}

export const workOf = (lane: number, rows: Float32Array, arrivedAt: number, deadline: number): Work => ({
  lane: `${lane}`,
  rows,
  arrivedAt,
  deadline,
})

interface Part {
  readonly lane: number
  readonly rows: number
}

/** One take after the other of lanes that are all behind. */
function takes(takeRows: number): () => Part {
  const perFetch = Math.ceil(FETCHED_ROWS / takeRows)
  const rows = Math.ceil(FETCHED_ROWS / perFetch)
  let turn = 0
  return () => ({ lane: turn++ % LANES, rows })
}

/** As a hop that is behind, one take after the other in each place, until the time is over; then until all of them are answered. */
export async function saturate(
  batcher: MicroBatcher,
  pool: Float32Array,
  ms: number,
  takeRows: number = TAKE_ROWS,
): Promise<Done> {
  const take = rotation(pool)
  const next = takes(takeRows)
  return await timed(async () => {
    const until = performance.now() + ms
    let rows = 0
    const places = Array.from({ length: TAKES }, async () => {
      while (performance.now() < until) {
        const part = next()
        await batcher.submit(workOf(part.lane, take(part.rows), performance.now(), Number.POSITIVE_INFINITY))
        rows += part.rows
      }
    })
    await Promise.all(places)
    return rows
  })
}
