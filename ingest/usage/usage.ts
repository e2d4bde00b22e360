/** A request that has been answered. */
export interface ServedRequest {
  readonly route: string
  readonly method: string
  /** Null when nobody was let in. */
  readonly tenant: string | null
  readonly status: number
  readonly requestBytes: number
  readonly responseBytes: number
  /** Events (or labels) that were accepted. */
  readonly events: number
  readonly tookMs: number
}

/** Counts requests: as metrics, and by the minute for `gateway_requests` in ClickHouse. */
export interface UsageMeter {
  /** Must not throw. */
  served(request: ServedRequest): void
}
