import fc from 'fast-check'
import { expect, test } from 'vitest'
import { assign, type GroupClaim } from '../../infra/runtime/kafka/consumer/assignor.ts'
import { decodeClaim, encodeSubscription } from '../../infra/runtime/kafka/protocol/consumer-protocol.ts'

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index)
const claim = (member: string, owned: readonly number[], generation = 1): GroupClaim => ({ member, owned, generation })

/** Joins until nothing moves any more, as members do; what is in an assignment counts as owned from then on. */
function settle(claims: readonly GroupClaim[], partitions: readonly number[]) {
  let current = claims
  for (let round = 1; ; round++) {
    const assigned = assign(current, partitions)
    const next = current.map(({ member }) => claim(member, assigned.get(member) ?? [], round + 1))
    const isSame = current.every(
      ({ owned }, index) => `${[...owned].sort()}` === `${[...(next[index]?.owned ?? [])].sort()}`,
    )
    if (isSame) return { assigned, rounds: round }
    current = next
  }
}

const members = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 8 })
const group = fc.record({
  members,
  partitions: fc.integer({ min: 1, max: 40 }),
  seed: fc.array(fc.nat(100), { maxLength: 60 }),
})
/** Claims as strange as they come: overlapping, outdated, to partitions that are not there. */
const claims = group.chain(({ members: names, partitions }) =>
  fc
    .tuple(
      ...names.map((member) =>
        fc.record({
          generation: fc.integer({ min: -1, max: 9 }),
          owned: fc.array(fc.integer({ min: 0, max: partitions + 3 }), { maxLength: partitions }),
          member: fc.constant(member),
        }),
      ),
    )
    .map((all) => ({ claims: all as GroupClaim[], partitions: range(partitions) })),
)

test('no partition is given to two members, and none that another one claims', () => {
  fc.assert(
    fc.property(claims, ({ claims: all, partitions }) => {
      const assigned = assign(all, partitions)
      const given = [...assigned.values()].flat()
      expect(new Set(given).size).toBe(given.length)
      expect(given.every((partition) => partitions.includes(partition))).toBe(true)
      expect([...assigned.keys()].sort()).toEqual(all.map(({ member }) => member).sort())
      for (const [member, owned] of assigned) {
        for (const partition of owned) {
          const claimants = all.filter((one) => one.owned.includes(partition))
          const newest = Math.max(...claimants.map(({ generation }) => generation))
          const mine = claimants.find((one) => one.member === member)
          if (claimants.length > 0) expect(mine?.generation).toBe(newest)
        }
      }
    }),
  )
})

test('whatever was before, two rounds later everything is given away, within one of the same number each', () => {
  fc.assert(
    fc.property(claims, ({ claims: all, partitions }) => {
      const { assigned, rounds } = settle(all, partitions)
      const counts = [...assigned.values()].map(({ length }) => length)
      expect([...assigned.values()].flat().sort((a, b) => a - b)).toEqual(partitions)
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
      expect(rounds).toBeLessThanOrEqual(3)
    }),
  )
})

test('what fits in a share stays, and no more moves than has to', () => {
  fc.assert(
    fc.property(group, fc.nat(7), ({ members: names, partitions }, more) => {
      const before = settle(
        names.map((name) => claim(name, [])),
        range(partitions),
      ).assigned
      const joined = Array.from({ length: more }, (_, index) => `new-${index}-`)
      const all = [
        ...[...before].map(([name, owned]) => claim(name, owned)),
        ...joined.map((name) => claim(name, [], -1)),
      ]
      const after = settle(all, range(partitions)).assigned
      const floor = Math.floor(partitions / all.length)
      for (const [name, owned] of before) {
        const kept = owned.filter((partition) => after.get(name)?.includes(partition)).length
        expect(kept).toBeGreaterThanOrEqual(Math.min(owned.length, floor))
        expect(kept).toBe(after.get(name)?.length)
      }
    }),
  )
})

test('a partition that must move is given to nobody in the first round', () => {
  const first = assign([claim('a', range(4)), claim('b', [], -1)], range(4))
  expect(first).toEqual(
    new Map([
      ['a', [0, 1]],
      ['b', []],
    ]),
  )
  const second = assign([claim('a', [0, 1], 2), claim('b', [], 2)], range(4))
  expect(second).toEqual(
    new Map([
      ['a', [0, 1]],
      ['b', [2, 3]],
    ]),
  )
})

test('added partitions are given away, what is there stays', () => {
  const grown = assign([claim('a', [0, 1]), claim('b', [2])], range(6))
  expect(grown).toEqual(
    new Map([
      ['a', [0, 1, 3]],
      ['b', [2, 4, 5]],
    ]),
  )
})

test('what a stranger says of itself claims nothing', () => {
  const own = encodeSubscription('t', { generation: 3, owned: [1, 7] })
  expect(decodeClaim(own, 't')).toEqual({ generation: 3, owned: [1, 7] })
  expect(decodeClaim(own, 'other')).toBeNull()
  const stranger = Buffer.concat([own.subarray(0, 9), Buffer.from('00000003666f6f', 'hex')])
  expect(decodeClaim(stranger, 't')).toEqual({ generation: -1, owned: [] })
  const silent = Buffer.concat([own.subarray(0, 9), Buffer.from('ffffffff', 'hex')])
  expect(decodeClaim(silent, 't')).toEqual({ generation: -1, owned: [] })
})
