/** How much to take at once, and how long to wait for more. */
export interface TakeLimits {
  readonly maxRows: number
  /** Keys, values and headers; a single larger record is handed out alone. */
  readonly maxBytes: number
  /** Hand out fewer than `maxRows` only once the oldest record has waited this long; 0 = at once. */
  readonly lingerMs: number
}
