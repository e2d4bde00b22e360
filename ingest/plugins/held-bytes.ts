/** Memory of the bodies that requests hold, from their first byte until they are answered. */
export interface HeldBytes {
  readonly max: number
  bytes(): number
  /** False = there is no room for so many more; nothing is taken then. */
  take(bytes: number): boolean
  give(bytes: number): void
}

export function createHeldBytes(max: number): HeldBytes {
  let held = 0
  return {
    max,
    bytes: () => held,
    take(bytes) {
      if (held + bytes > max) return false
      held += bytes
      return true
    },
    give(bytes) {
      held -= bytes
    },
  }
}
