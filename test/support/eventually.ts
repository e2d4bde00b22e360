import { setTimeout as delay } from 'node:timers/promises'

const FIRST_PAUSE_MS = 10
const LONGEST_PAUSE_MS = 500

/**
 * Waits until `condition` neither throws nor rejects, and gives what it returned: expectations about a running system.
 * Rejects with the last reason when `deadlineMs` has passed.
 */
export async function eventually<T>(condition: () => T | Promise<T>, limits: { deadlineMs: number }): Promise<T> {
  const deadline = performance.now() + limits.deadlineMs
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    try {
      return await condition()
    } catch (error) {
      if (performance.now() + pauseMs > deadline) {
        const reason = error instanceof Error ? error.message : String(error)
        throw new Error(`Still not so after ${limits.deadlineMs} ms: ${reason}`, { cause: error })
      }
    }
    await delay(pauseMs)
  }
}
