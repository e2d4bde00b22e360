import { systemClock } from '../runtime/clock.ts'
import { untilDone } from '../runtime/lifecycle/retry.ts'
import { type Logger, silentLogger } from '../runtime/telemetry/logger.ts'

/**
 * A service that has only just begun to answer may not do so each time: tries again, and says so, until the signal aborts.
 * Gives up at once on what another try does not change.
 */
export function patiently<T>(
  what: string,
  work: () => Promise<T>,
  options: { readonly say: (line: string) => void; readonly signal: AbortSignal },
): Promise<T> {
  const logger: Logger = {
    ...silentLogger,
    warn: (fields, message) => options.say(`${message} (${'message' in fields ? String(fields.message) : ''})`),
  }
  const backoff = { baseMs: 250, maxMs: 5_000 }
  return untilDone(what, work, { backoff, clock: systemClock, logger, signal: options.signal })
}
