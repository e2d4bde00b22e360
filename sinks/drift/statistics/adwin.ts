/** River's defaults. */
export interface AdwinRule {
  /** Chance of a false alarm that the bound aims at: 0.002. */
  readonly delta?: number
  /** Cuts are tested every so many values: 32. */
  readonly clock?: number
  /** Buckets of one size before two are merged: 5. */
  readonly maxBuckets?: number
  /** Fewest values on each side of a cut: 5. */
  readonly minSide?: number
  /** No test before so many values: 10. */
  readonly grace?: number
}

interface Bucket {
  readonly total: number
  /** Sum of squared deviations. */
  readonly spread: number
}

/**
 * Adaptive windowing (Bifet and Gavaldà 2007): a window of the latest values as an exponential histogram, cut where two parts differ in their
 * mean by more than chance. O(log n) buckets. Not thread-safe.
 */
export class Adwin {
  readonly #rule: Required<AdwinRule>
  /** rows[i]: buckets of 2^i values, the oldest first. */
  readonly #rows: Bucket[][] = [[]]
  #seen = 0
  #width = 0
  #total = 0
  #spread = 0

  constructor(rule: AdwinRule = {}) {
    this.#rule = { delta: 0.002, clock: 32, maxBuckets: 5, minSide: 5, grace: 10, ...rule }
  }

  /** How many values the window has; after an alarm those since the change. */
  get width(): number {
    return this.#width
  }

  get mean(): number {
    return this.#width === 0 ? 0 : this.#total / this.#width
  }

  /** Takes one value; true when older ones were dropped because the mean has changed. */
  update(value: number): boolean {
    this.#seen++
    this.#insert(value)
    if (this.#seen % this.#rule.clock !== 0 || this.#width <= this.#rule.grace) return false
    let changed = false
    while (this.#hasCut()) {
      this.#dropOldest()
      changed = true
    }
    return changed
  }

  #insert(value: number): void {
    if (this.#width > 0) this.#spread += (this.#width / (this.#width + 1)) * (value - this.mean) ** 2
    this.#width++
    this.#total += value
    this.#rows[0]!.push({ total: value, spread: 0 })
    for (let row = 0; this.#rows[row]!.length > this.#rule.maxBuckets; row++) {
      const [older, newer] = this.#rows[row]!.splice(0, 2)
      const size = 2 ** row
      const between = ((older!.total - newer!.total) / size) ** 2 * (size / 2)
      this.#rows[row + 1] ??= []
      this.#rows[row + 1]!.push({ total: older!.total + newer!.total, spread: older!.spread + newer!.spread + between })
    }
  }

  /** Tests every boundary of buckets, the oldest first. */
  #hasCut(): boolean {
    const { delta, minSide } = this.#rule
    const confidence = Math.log((2 * Math.log(this.#width)) / delta)
    let older = 0
    let olderTotal = 0
    for (let row = this.#rows.length - 1; row >= 0; row--) {
      for (const bucket of this.#rows[row]!) {
        older += 2 ** row
        olderTotal += bucket.total
        const newer = this.#width - older
        if (older < minSide || newer < minSide) continue
        const inverse = 1 / (older - minSide + 1) + 1 / (newer - minSide + 1)
        const variance = this.#spread / this.#width
        const bound = Math.sqrt(2 * inverse * variance * confidence) + (2 / 3) * confidence * inverse
        if (Math.abs(olderTotal / older - (this.#total - olderTotal) / newer) > bound) return true
      }
    }
    return false
  }

  #dropOldest(): void {
    const row = this.#rows.length - 1
    const bucket = this.#rows[row]!.shift()!
    if (this.#rows[row]!.length === 0 && row > 0) this.#rows.pop()
    const size = 2 ** row
    this.#width -= size
    this.#total -= bucket.total
    const between = ((size * this.#width) / (size + this.#width)) * (bucket.total / size - this.mean) ** 2
    this.#spread = Math.max(0, this.#spread - bucket.spread - between)
  }
}
