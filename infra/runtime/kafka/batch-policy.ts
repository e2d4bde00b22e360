import { fatal } from '../errors.ts'

/** When a batch of one partition goes. The first limit that is reached counts. */
export interface BatchLimits {
  readonly maxRecords: number
  /** A single larger record goes alone. */
  readonly maxBytes: number
  /** How long the oldest record waits for company; 0 = not at all. */
  readonly lingerMs: number
}

/**
 * "Is the batch ready, when next, what is in it", for the records of one partition in their order. No timers, no I/O:
 * the caller gives the time (monotonic ms) and does what is due.
 */
export interface BatchPolicy<E> {
  add(entry: E, bytes: number, now: number): void
  /** Everything that waits now is due, however short it has waited. */
  hurry(): void
  /** 0 = take now; null = nothing waits. */
  dueInMs(now: number): number | null
  /** The next batch: the oldest records within the limits, at least one if any waits. */
  take(): readonly E[]
  /** Empties the queue. */
  takeAll(): readonly E[]
}

const MAX_LINGER_MS = 60_000

export function createBatchPolicy<E>(limits: BatchLimits): BatchPolicy<E> {
  requireCeilings(limits)
  const queue: { readonly entry: E; readonly bytes: number; since: number }[] = []
  let queuedBytes = 0

  function remove(count: number): readonly E[] {
    const taken = queue.splice(0, count)
    for (const { bytes } of taken) queuedBytes -= bytes
    return taken.map(({ entry }) => entry)
  }

  return {
    add(entry, bytes, now) {
      queue.push({ entry, bytes, since: now })
      queuedBytes += bytes
    },
    hurry() {
      for (const each of queue) each.since = Number.NEGATIVE_INFINITY
    },
    dueInMs(now) {
      const [oldest] = queue
      if (oldest === undefined) return null
      if (queue.length >= limits.maxRecords || queuedBytes >= limits.maxBytes) return 0
      return Math.max(0, oldest.since + limits.lingerMs - now)
    },
    take() {
      let bytes = 0
      let count = 0
      for (const each of queue) {
        bytes += each.bytes
        if (count === limits.maxRecords || (count > 0 && bytes > limits.maxBytes)) break
        count++
      }
      return remove(count)
    },
    takeAll: () => remove(queue.length),
  }
}

function requireCeilings({ maxRecords, maxBytes, lingerMs }: BatchLimits): void {
  const problems = [
    Number.isInteger(maxRecords) && maxRecords >= 1 ? '' : 'the records of a batch must be limited to 1 or more',
    Number.isInteger(maxBytes) && maxBytes >= 1 ? '' : 'the bytes of a batch must be limited to 1 or more',
    lingerMs >= 0 && lingerMs <= MAX_LINGER_MS ? '' : `the linger must be from 0 to ${MAX_LINGER_MS} ms`,
  ].filter((problem) => problem !== '')
  if (problems.length > 0) throw fatal('invalid_config', problems.join('; '))
}
