import { type Backoff, backoffMs } from '../backoff.ts'
import type { Clock } from '../clock.ts'
import { describeError, fateOf } from '../errors.ts'
import type { Logger } from '../telemetry/logger.ts'

/** Tries until the work is done, fails with something else than `retry`, or the signal aborts (then the last error). */
export async function untilDone<T>(
  what: string,
  work: () => Promise<T>,
  options: {
    readonly backoff: Backoff
    readonly clock: Clock
    readonly logger: Logger
    readonly signal: AbortSignal
    /** Told before each wait. */
    readonly onRetry?: (error: unknown) => void
  },
): Promise<T> {
  const { backoff, clock, logger, signal, onRetry } = options
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (fateOf(error) !== 'retry' || signal.aborted) throw error
      const waitMs = backoffMs(backoff, attempt - 1)
      logger.warn({ ...describeError(error), attempt, waitMs: Math.round(waitMs) }, `${what}: trying again`)
      onRetry?.(error)
      await clock.sleep(waitMs, signal)
      if (signal.aborted) throw error
    }
  }
}
