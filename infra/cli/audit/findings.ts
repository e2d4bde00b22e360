/**
 *   missing        a record without an end: no prediction, no dead letter, no row
 *   double         a record with a second end
 *   out_of_order   an output behind one of a later event
 *   foreign        a record that no stage of ours wrote for what is in the log
 */
export type Fault = 'missing' | 'double' | 'outOfOrder' | 'foreign'

export type FaultCounts = Readonly<Record<Fault, number>>

export interface Example {
  readonly fault: Fault
  /** The record that the fault is about. */
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly detail: string
}

/** Counts every fault of a ledger, and keeps the first ones of each kind. */
export interface Findings {
  readonly counts: FaultCounts
  readonly examples: readonly Example[]
  add(fault: Fault, topic: string, offset: number, detail: string): void
}

export function createFindings(partition: number, maxExamples: number): Findings {
  const counts: Record<Fault, number> = { missing: 0, double: 0, outOfOrder: 0, foreign: 0 }
  const examples: Example[] = []
  return {
    counts,
    examples,
    add(fault, topic, offset, detail) {
      counts[fault] += 1
      if (counts[fault] <= maxExamples) examples.push({ fault, topic, partition, offset, detail })
    },
  }
}

export function isFaulty({ missing, double, outOfOrder, foreign }: FaultCounts): boolean {
  return missing + double + outOfOrder + foreign > 0
}
