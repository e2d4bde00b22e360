import type { Principal } from '../access/access.ts'

/** What a request is counted as. */
export interface Cost {
  readonly requests: number
  readonly events: number
  readonly bytes: number
}

/** One limit as it stands, for `RateLimit-Policy` and `RateLimit` headers. */
export interface Standing {
  /** E.g. `key-requests`, `tenant-events`, `tenant-month`. */
  readonly name: string
  readonly quota: number
  readonly windowSeconds: number
  readonly remaining: number
  readonly resetSeconds: number
}

export interface Verdict {
  readonly ok: boolean
  /** The limits that apply, the tightest first. */
  readonly standings: readonly Standing[]
  /** When it is worth another try, seconds with jitter; 0 when `ok`. */
  readonly retryAfterSeconds: number
}

/**
 * Limits of credentials and tenants over all gateways, counted in Redis. When Redis does not answer within 20 ms, this process
 * goes on with its own share, limit / replicas, until Redis is back: nobody is let through unlimited and nobody locked out.
 */
export interface Limits {
  /** All or nothing of `cost`. Never rejects. */
  take(principal: Principal, cost: Cost): Promise<Verdict>
  /** Undoes what was taken for something that did not happen after all, as far as it is counted still. Never rejects. */
  giveBack(principal: Principal, cost: Cost): Promise<void>
  /** Counts a request that runs in this process; call what it answers once when it has ended. Null = too many run already. */
  enter(principal: Principal): (() => void) | null
}
