/** Exponential back-off with full jitter on the upper half: attempt 0 waits about `baseMs`, never more than `maxMs`. */
export interface Backoff {
  readonly baseMs: number
  readonly maxMs: number
}

export function backoffMs(backoff: Backoff, attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(attempt, 30))
  return ceiling / 2 + (random() * ceiling) / 2
}
