import { setTimeout as delay } from 'node:timers/promises'
import type { EventFeed } from '../chaos/event-feed.ts'
import { percentile } from '../chaos/progress.ts'
import { residentMb } from './resident.ts'

export interface Quantiles {
  readonly count: number
  readonly p50: number | null
  readonly p99: number | null
  readonly max: number | null
}

const STEP_MS = 20
const SAMPLE_MS = 1_000
const STRETCHES = 5

/** So many events a second, in small steps. */
export function startLoad(feed: EventFeed, rate: number): { stop(): Promise<void> } {
  const stopping = new AbortController()
  const never = new AbortController().signal
  const feeding = (async () => {
    const since = performance.now()
    const before = feed.sent
    while (!stopping.signal.aborted) {
      const due = before + (rate * (performance.now() - since)) / 1_000
      if (feed.sent < due) await feed.send(Math.ceil(due - feed.sent), never)
      await delay(STEP_MS)
    }
  })()
  return {
    stop() {
      stopping.abort()
      return feeding
    },
  }
}

/** Medians of the process's memory, MiB, over stretches of time of one length. */
export function watchMemory(pid: number): { begin(): void; stop(): Promise<readonly number[]> } {
  const stopping = new AbortController()
  const samples: number[] = []
  const sampling = (async () => {
    while (!stopping.signal.aborted) {
      samples.push(await residentMb(pid))
      await delay(SAMPLE_MS, undefined, { signal: stopping.signal }).catch(() => {})
    }
  })()
  return {
    begin() {
      samples.length = 0
    },
    async stop() {
      stopping.abort()
      await sampling
      const length = samples.length / STRETCHES
      const stretch = (at: number): readonly number[] => samples.slice(at * length, (at + 1) * length)
      return Array.from({ length: STRETCHES }, (_, at) => Math.round(percentile(stretch(at), 0.5) ?? 0))
    },
  }
}

/** In whole numbers. */
export function quantiles(values: readonly number[]): Quantiles {
  const rounded = (share: number): number | null => {
    const value = percentile(values, share)
    return value === null ? null : Math.round(value)
  }
  return { count: values.length, p50: rounded(0.5), p99: rounded(0.99), max: rounded(1) }
}
