/**
 * Memory that is used again: fresh buffers of this size cost page faults, and count against the heap until a full
 * collection, which the hot path would ask for many times a second.
 */
export interface SpareMemory {
  /** At least so many bytes, with any content. */
  take(bytes: number): Buffer
  /** Nobody uses it any more. */
  give(buffer: Buffer): void
}

export function createSpareMemory(maxBytes: number): SpareMemory {
  const spare: Buffer[] = []
  let spareBytes = 0
  return {
    take(bytes) {
      const found = spare.pop()
      if (found !== undefined) {
        spareBytes -= found.length
        // one that is too small would be so again
        if (found.length >= bytes) return found
      }
      // not of the shared pool, and with room for a batch that is a little larger
      return Buffer.allocUnsafeSlow(Math.ceil(bytes * 1.125))
    },
    give(buffer) {
      if (spareBytes + buffer.length > maxBytes) return
      spareBytes += buffer.length
      spare.push(buffer)
    },
  }
}
