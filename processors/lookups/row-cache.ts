/** A bounded cache of what was found: least recently used entries go first, every entry goes after a while. */
export interface RowCache<T> {
  get(key: string): T | undefined
  set(key: string, value: T): void
}

export interface RowCacheOptions {
  /** 0 = keep nothing. */
  readonly maxEntries: number
  readonly ttlMs: number
  /** Monotonic ms. */
  readonly now: () => number
}

export function createRowCache<T>(options: RowCacheOptions): RowCache<T> {
  const { maxEntries, ttlMs, now } = options
  // a Map iterates in the order of insertion: the first key is the one that was not used for longest
  const entries = new Map<string, { readonly value: T; readonly until: number }>()
  return {
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      entries.delete(key)
      if (entry.until <= now()) return undefined
      entries.set(key, entry)
      return entry.value
    },
    set(key, value) {
      entries.delete(key)
      entries.set(key, { value, until: now() + ttlMs })
      for (const oldest of entries.keys()) {
        if (entries.size <= maxEntries) return
        entries.delete(oldest)
      }
    },
  }
}
