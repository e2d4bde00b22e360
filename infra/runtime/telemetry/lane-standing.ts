/** What the partitions of a hop wait for, and which of them stopped: what readiness says, and what is news to the log. */
export interface LaneStanding {
  /** Something is known to hold it up: a dependency, a record that has to wait, an operator. */
  isWaiting(): boolean
  /** Whether this is news. Null = batches of several partitions wait. */
  waits(partition: number | null, code: string): boolean
  /** It waits no more. */
  moved(partition: number | null): void
  stopped(partition: number, code: string): void
  /** It begins anew, or is not ours any more. */
  began(partition: number): void
  /** Null when all is well. */
  problem(): string | null
}

export function createLaneStanding(name: string): LaneStanding {
  const waiting = new Map<number | null, string>()
  const stopped = new Map<number, string>()
  return {
    isWaiting: () => waiting.size > 0 || stopped.size > 0,
    waits(partition, code) {
      const isNew = waiting.get(partition) !== code
      waiting.set(partition, code)
      return isNew
    },
    moved: (partition) => void waiting.delete(partition),
    stopped: (partition, code) => void stopped.set(partition, code),
    began(partition) {
      waiting.delete(partition)
      stopped.delete(partition)
    },
    problem() {
      const [waits] = waiting.values()
      if (waits !== undefined) return `${name} waits: ${waits}`
      const [first] = stopped
      return first === undefined ? null : `${name} stopped at partition ${first[0]}: ${first[1]}`
    },
  }
}
