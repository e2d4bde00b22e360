import { type ProcessUsage, processUsage } from './process-usage.ts'

export interface WatchOptions {
  readonly pid: number | undefined
  readonly memoryLimitBytes: number
  exceeded(fault: 'timeout' | 'memory', message: string): void
}

export interface RequestWatch {
  /** What the child is at from now on; null = nothing. */
  began(request: { readonly kind: string; readonly timeoutMs: number } | null): void
  residentBytes(): number | null
}

const INTERVAL_MS = 50
/** A child that would run but gets less than this share of a processor is not the one that is slow. */
const STARVED_SHARE = 0.25
/** It is given half of its time again, up to this many times its time. */
const LONGEST = 3

/** Looks at a child every 50 ms while it is at something: how long it has been, and what memory it takes. */
export function watchRequest({ pid, memoryLimitBytes, exceeded }: WatchOptions): RequestWatch {
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
    if (request === null || request !== current) return
    if (usage !== null) {
      resident = usage.residentBytes
      if (resident > memoryLimitBytes) {
        exceeded('memory', `the child took ${toMb(resident)} MB, ${toMb(memoryLimitBytes)} MB are allowed`)
        return
      }
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
    if (current === null && timer !== null) {
      clearInterval(timer)
      timer = null
    }
    if (current === null || isLooking) return
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
