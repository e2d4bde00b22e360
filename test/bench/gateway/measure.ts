import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'

export interface LoadRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON array of request bodies, which take turns. */
  readonly bodiesFile: string
  readonly connections: number
  readonly seconds: number
  /** Requests a second, over all connections. Default: each connection sends when it has its answer. */
  readonly ratePerSecond?: number
}

export interface LoadResult {
  readonly seconds: number
  /** Answers by status. */
  readonly statuses: Readonly<Record<string, number>>
  readonly errors: number
  readonly timeouts: number
  /** Answers with 2xx; the times are theirs. */
  readonly accepted: number
  readonly p50Ms: number | null
  readonly p99Ms: number | null
  readonly maxMs: number | null
}

/** Runs the load generator and waits for it. */
export async function runLoad(request: LoadRequest): Promise<LoadResult> {
  const file = path.join(import.meta.dirname, 'load.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [file, JSON.stringify(request)])
  return JSON.parse(stdout) as LoadResult
}

export interface ProcessFigures {
  readonly cpuSeconds: number
  readonly rssBytes: number
}

/** What the process says of itself on its ops port. */
export async function processFigures(opsPort: number): Promise<ProcessFigures> {
  const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text()
  const value = (name: string): number => {
    const [, number] = new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'm').exec(text) ?? []
    if (number === undefined) throw new Error(`the process does not say its ${name}`)
    return Number(number)
  }
  return { cpuSeconds: value('process_cpu_seconds_total'), rssBytes: value('process_resident_memory_bytes') }
}

const SAMPLE_MS = 500

/** Most memory that the process has while the work runs, bytes. */
export async function peakRss<T>(opsPort: number, work: () => Promise<T>): Promise<readonly [T, number]> {
  let peak = 0
  const sampling = setInterval(() => {
    processFigures(opsPort).then(
      ({ rssBytes }) => {
        peak = Math.max(peak, rssBytes)
      },
      // too busy to say: the next sample tells
      () => {},
    )
  }, SAMPLE_MS)
  try {
    return [await work(), peak]
  } finally {
    clearInterval(sampling)
  }
}

export const rounded = (value: number | null, digits = 1): number | null =>
  value === null ? null : Math.round(value * 10 ** digits) / 10 ** digits

/** Accepted answers a second. */
export const rate = ({ accepted, seconds }: LoadResult): number => accepted / seconds
