/**
 * When a child that has nothing to do is started anew because it has grown: by so much since its models were loaded and
 * warm, whatever made it grow. A model that simply needs that much grows again at once: each time that it did within ten
 * minutes twice as much is allowed, so that it is left alone after a few times, while what only ever grows is started anew
 * for good.
 */
export interface RecyclePolicy {
  /** A child begins. Monotonic ms. */
  began(now: number): void
  /** What it has, its models loaded and nothing to do; true = it is to be started anew, and `began` comes next. */
  rested(residentBytes: number, now: number): boolean
  /** It grew up to its limit, where it was killed: so it was no need that ends. */
  exceeded(): void
}

const SOON_MS = 600_000

export function createRecyclePolicy(growthBytes: number, limitBytes: number): RecyclePolicy {
  let allowedBytes = growthBytes
  let beganAt = 0
  let startedWith: number | null = null

  return {
    began(now) {
      beganAt = now
      startedWith = null
    },
    rested(residentBytes, now) {
      startedWith ??= residentBytes
      // above the limit its next run would be blamed for it
      if (residentBytes - startedWith < allowedBytes && residentBytes <= limitBytes) return false
      allowedBytes = now - beganAt < SOON_MS ? 2 * allowedBytes : growthBytes
      return true
    },
    exceeded() {
      allowedBytes = growthBytes
    },
  }
}
