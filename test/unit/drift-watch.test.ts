import { expect, test } from 'vitest'
import type { DriftPart } from '../../sinks/drift/drift-part.ts'
import { watch } from '../../sinks/drift/watch.ts'
import { manualClock } from '../support/manual-clock.ts'

// Who watches, and that nothing that fails ends the watch.

const INTERVAL_MS = 1_000

/** So many turns of the loop, and what was said in them. */
async function watched(
  parts: readonly DriftPart[],
  options: {
    readonly isActive?: () => boolean
    readonly seenUntil?: () => Promise<number | null>
    readonly rounds: number
  },
) {
  const clock = manualClock()
  const stopping = new AbortController()
  const said: string[] = []
  const sleeps: number[] = []
  await watch({
    parts,
    clock: {
      ...clock,
      sleep: async (ms) => {
        sleeps.push(ms)
        clock.advance(ms)
        if (sleeps.length === options.rounds) stopping.abort()
      },
    },
    intervalMs: INTERVAL_MS,
    signal: stopping.signal,
    isActive: options.isActive ?? (() => true),
    profile: () => null,
    seenUntil: options.seenUntil ?? (async () => 5),
    instruments: {
      active: (is) => said.push(is ? 'active' : 'idle'),
      round: (part) => said.push(part),
      failed: (part, { code }) => said.push(`${part} ${code}`),
    },
  })
  return { said }
}

const part = (name: string, round: DriftPart['round'], begin = () => {}): DriftPart => ({ name, round, begin })

test('only the process that stores partition 0 watches, and it begins anew each time that it is', async () => {
  const owned = [false, true, true, false, true]
  let begun = 0
  const one = part(
    'one',
    async () => false,
    () => {
      begun += 1
    },
  )
  const { said } = await watched([one], { rounds: 5, isActive: () => owned.shift() ?? false })
  expect(said).toEqual(['active', 'one', 'one', 'idle', 'active', 'one'])
  expect(begun).toBe(2)
})

test('a part that fails is said, and the others have their turn', async () => {
  const bad = part('bad', async () => {
    throw Object.assign(new Error('no'), { code: 'bad' })
  })
  const { said } = await watched([bad, part('good', async () => false)], { rounds: 2 })
  expect(said).toEqual(['active', expect.stringMatching(/^bad /), 'good', expect.stringMatching(/^bad /), 'good'])
})

test('without an answer about events there is no round, and the next one asks again', async () => {
  let asked = 0
  const seenUntil = async (): Promise<number> => {
    asked += 1
    if (asked === 1) throw new Error('away')
    return 7
  }
  const seen: (number | null)[] = []
  const one = part('one', async (round) => {
    seen.push(round.seenUntil)
    return false
  })
  await watched([one], { rounds: 2, seenUntil })
  expect(seen).toEqual([7])
})

test('who has more to do goes on for ten seconds, then the others have their turn, and nobody waits', async () => {
  const turns: string[] = []
  let left = 0
  const clocked: { advance?: (ms: number) => void } = {}
  const busy = part('busy', async () => {
    turns.push('busy')
    left += 1
    clocked.advance?.(4_000)
    return left < 5
  })
  const clock = manualClock()
  clocked.advance = clock.advance
  const stopping = new AbortController()
  const sleeps: number[] = []
  await watch({
    ...{ parts: [busy, part('other', async () => Boolean(turns.push('other')) && false)], intervalMs: INTERVAL_MS },
    clock: {
      ...clock,
      sleep: async (ms) => {
        sleeps.push(ms)
        if (sleeps.length === 2) stopping.abort()
      },
    },
    ...{ signal: stopping.signal, isActive: () => true, profile: () => null, seenUntil: async () => 5 },
    instruments: { active: () => {}, round: () => {}, failed: () => {} },
  })
  expect(turns).toEqual(['busy', 'busy', 'busy', 'other', 'busy', 'busy', 'other'])
  expect(sleeps).toEqual([0, INTERVAL_MS])
})
