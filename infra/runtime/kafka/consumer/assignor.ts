import type { Claim } from '../protocol/consumer-protocol.ts'

export interface GroupClaim extends Claim {
  readonly member: string
}

/**
 * Cooperative sticky assignment in two rounds. Every member keeps what it has up to its share, and what nobody has is given away. A
 * partition that must move is given to nobody yet: its owner drains it and joins again without it, and the next round gives it away.
 * So no partition is ever with two members, and what stays is not disturbed.
 *
 * Shares differ by one at most; who has most gets the larger ones. Of two claims to a partition the newer generation counts.
 */
export function assign(
  claims: readonly GroupClaim[],
  partitions: readonly number[],
): ReadonlyMap<string, readonly number[]> {
  const unclaimed = new Set(partitions)
  const held = new Map<string, number[]>(claims.map(({ member }) => [member, []]))
  for (const { member, owned } of claims.toSorted(
    (a, b) => b.generation - a.generation || compare(a.member, b.member),
  )) {
    for (const partition of owned) if (unclaimed.delete(partition)) held.get(member)?.push(partition)
  }
  const order = [...held].sort(([a, hasA], [b, hasB]) => hasB.length - hasA.length || compare(a, b))
  const free = [...unclaimed].sort((a, b) => a - b)
  const share = Math.floor(partitions.length / order.length)
  const larger = partitions.length % order.length
  return new Map(
    order.map(([member, has], index) => {
      const quota = share + (index < larger ? 1 : 0)
      const kept = has.sort((a, b) => a - b).slice(0, quota)
      return [member, [...kept, ...free.splice(0, quota - kept.length)]]
    }),
  )
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
