import type { IncomingMessage, ServerResponse } from 'node:http'

/**
 * Calls `f` once when it has closed, whoever closed it: at once when it has closed already. `close` comes once, so that who listens for it
 * after an `await` has to ask whether it was there before.
 */
export function whenClosed(raw: IncomingMessage | ServerResponse, f: () => void): void {
  if (raw.closed || raw.destroyed) f()
  else raw.once('close', f)
}
