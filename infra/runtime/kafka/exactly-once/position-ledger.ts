/**
 * Up to where a log tells only of input records below an offset. Records of one input stand in its order, so everything below the
 * first batch with a record at or above the offset does.
 */
export interface PositionLedger {
  /** The log has been seen to end there: what is written from now on lies above. */
  sawEnd(offset: number): void
  /** A batch is about to be appended that tells of records below this input offset. */
  writing(upTo: number): void
  /** Asked with offsets that do not fall. Never too high; low by what has been written since the last `sawEnd`. */
  position(inputOffset: number): number
}

export function createPositionLedger(end: number): PositionLedger {
  /** Batches that a commit does not cover yet, and an offset that each lies at or above. */
  const uncovered: { readonly upTo: number; readonly above: number }[] = []
  let seen = end
  return {
    sawEnd(offset) {
      seen = Math.max(seen, offset)
    },
    writing(upTo) {
      uncovered.push({ upTo, above: seen })
    },
    position(inputOffset) {
      const first = uncovered.findIndex(({ upTo }) => upTo > inputOffset)
      uncovered.splice(0, first < 0 ? uncovered.length : first)
      return uncovered[0]?.above ?? seen
    },
  }
}
