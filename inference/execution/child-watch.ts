import { type ProcessUsage, processUsage } from './process-usage.ts'

export interface WatchOptions {
  readonly pid: number | undefined
  readonly memoryLimitBytes: number
  exceeded(fault: 'timeout' | 'memory', message: string): void
  /** It is at nothing, and has so much. Where that cannot be told, never. */
  rested(residentBytes: number): void
}

export interface RequestWatch {
  /** What the child is at from now on; null = nothing. */
  began(request: { readonly kind: string; readonly timeoutMs: number } | null): void
  /** As last seen; null = not seen yet. */
  residentBytes(): number | null
}

const INTERVAL_MS = 50
/** A child that would run but gets less than this share of a processor is not the one that is slow. */
const STARVED_SHARE = 0.25
/** It is given half of its time again, up to this many times its time. */
const LONGEST = 3

/**
 * Looks at a child every 50 ms while it is at something, and once more when it is not: how long it has been, and what memory
 * it takes.
 */
export function watchRequest({ pid, memoryLimitBytes, exceeded, rested }: WatchOptions): RequestWatch {
  let resident: number | null = null
  let current: { readonly kind: string; readonly timeoutMs: number } | null = null
  let since = 0
  let deadlineMs = 0
  let middle: { readonly at: number; readonly cpuMs: number } | null = null
  let timer: NodeJS.Timeout | null = null
  let isLooking = false

  function isStarved(usage: ProcessUsage | null, now: number): boolean {
    if (usage === null || middle === null || !usage.wantsCpu) return false
    return usage.cpuMs - middle.cpuMs < (now - middle.at) * STARVED_SHARE
  }

  async function look(): Promise<void> {
    const request = current
    const usage = pid === undefined ? null : await processUsage(pid)
    if (usage !== null) resident = usage.residentBytes
    // whatever it is at now: runs may be too short to be seen at their end
    if (current !== null && usage !== null && usage.residentBytes > memoryLimitBytes) {
      exceeded('memory', `the child took ${toMb(usage.residentBytes)} MB, ${toMb(memoryLimitBytes)} MB are allowed`)
      return
    }
    if (request !== current) return
    if (request === null) {
      if (usage !== null) rested(usage.residentBytes)
      return
    }
    const now = performance.now()
    if (middle === null && now - since >= request.timeoutMs / 2) middle = { at: now, cpuMs: usage?.cpuMs ?? 0 }
    if (now - since < deadlineMs) return
    if (isStarved(usage, now) && deadlineMs < request.timeoutMs * LONGEST) {
      deadlineMs += request.timeoutMs / 2
      middle = { at: now, cpuMs: usage?.cpuMs ?? 0 }
    } else {
      exceeded('timeout', `no answer to ${request.kind} within ${Math.round(now - since)} ms`)
    }
  }

  function tick(): void {
    if (isLooking) return
    if (current === null && timer !== null) {
      clearInterval(timer)
      timer = null
    }
    isLooking = true
    void look().finally(() => {
      isLooking = false
    })
  }

  return {
    began(request) {
      current = request
      if (request === null) return
      since = performance.now()
      deadlineMs = request.timeoutMs
      middle = null
      timer ??= setInterval(tick, INTERVAL_MS).unref()
    },
    residentBytes: () => resident,
  }
}

const toMb = (bytes: number): number => Math.round(bytes / 2 ** 20)
