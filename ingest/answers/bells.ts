import type { Clock } from '../../infra/runtime/clock.ts'

/** Rings for whoever waits for a key. */
export interface Bells {
  /** How many wait. */
  readonly waiting: number
  ring(key: string): void
  enter(key: string): Bell
}

export interface Bell {
  /** Resolves when it rings, or has since the last call, after `ms`, or when `signal` aborts. */
  rung(ms: number, signal: AbortSignal): Promise<void>
  leave(): void
}

export function createBells(clock: Clock): Bells {
  const entered = new Map<string, Set<() => void>>()
  let waiting = 0
  return {
    get waiting() {
      return waiting
    },
    ring(key) {
      for (const wake of entered.get(key) ?? []) wake()
    },
    enter(key) {
      let hasRung = false
      let wakeUp: (() => void) | null = null
      const wake = (): void => {
        hasRung = true
        wakeUp?.()
      }
      const wakes = entered.get(key) ?? new Set()
      entered.set(key, wakes.add(wake))
      waiting++
      return {
        async rung(ms, signal) {
          if (!(hasRung || signal.aborted)) {
            const woken = Promise.withResolvers<void>()
            const nap = new AbortController()
            wakeUp = woken.resolve
            signal.addEventListener('abort', woken.resolve as () => void, { once: true })
            await Promise.race([woken.promise, clock.sleep(ms, nap.signal)])
            nap.abort()
            signal.removeEventListener('abort', woken.resolve as () => void)
            wakeUp = null
          }
          hasRung = false
        },
        leave() {
          wakes.delete(wake)
          if (wakes.size === 0) entered.delete(key)
          waiting--
        },
      }
    },
  }
}
