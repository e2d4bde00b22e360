import type { Account } from './accounting.ts'

/** How long a run may go without a record more being accounted for. */
const STALL_MS = 60_000
const POLL_MS = 500

/**
 * Waits until every record of the run has ended: resolves with the account, complete or, when nothing has moved for a
 * minute, as it stands.
 */
export async function settleRun(
  read: () => Promise<Account>,
  options: { readonly signal: AbortSignal; readonly sleep: (ms: number, signal: AbortSignal) => Promise<void> },
): Promise<Account> {
  let best = Number.POSITIVE_INFINITY
  let movedAt = performance.now()
  for (;;) {
    const account = await read()
    const open = account.missing + account.labelsMissing
    if (open === 0 || options.signal.aborted) return account
    if (open < best) {
      best = open
      movedAt = performance.now()
    }
    if (performance.now() - movedAt > STALL_MS) return account
    await options.sleep(POLL_MS, options.signal)
  }
}
