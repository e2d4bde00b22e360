import type { DeadLetter } from '../../../schemas/generated/records.ts'

/** Which letters a command is about; every condition that is given must hold. */
export interface LetterFilter {
  readonly reason?: string
  readonly kind?: string
  readonly stage?: string
  readonly tenant?: string
  readonly partition?: number
  /** Event id. */
  readonly id?: string
  /** Appended at or after, epoch ms. */
  readonly from?: number
  /** Appended before, epoch ms. */
  readonly to?: number
}

export function matches(filter: LetterFilter, letter: DeadLetter, partition: number, appendedAt: number): boolean {
  const { reason, kind, stage, tenant, id, from, to } = filter
  return (
    is(reason, letter.reason) &&
    is(kind, letter.kind) &&
    is(stage, letter.stage) &&
    is(tenant, letter.tenant) &&
    is(filter.partition, partition) &&
    is(id, letter.event_id) &&
    (from === undefined || appendedAt >= from) &&
    (to === undefined || appendedAt < to)
  )
}

function is<T>(wanted: T | undefined, actual: T | null): boolean {
  return wanted === undefined || wanted === actual
}
