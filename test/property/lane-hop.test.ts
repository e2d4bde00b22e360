import fc from 'fast-check'
import { expect, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import type { BatchHandler } from '../../infra/runtime/kafka/outcome.ts'
import { slicesOf } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { memoryLanes, memorySourceOf, quietObserver, startMemoryHop } from '../support/memory-hop.ts'
import { type MemoryLane, memoryClaims } from '../support/memory-lanes.ts'

const turns = async (count: number): Promise<void> => {
  for (let left = count; left > 0; left--) await new Promise((resolve) => setImmediate(resolve))
}

interface Faults {
  /** From 0 to 99. */
  next(): number
}

/** Marsaglia's xorshift32. */
function faultsOf(seed: number): Faults {
  let state = seed | 1
  return {
    next() {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return (state >>> 0) % 100
    },
  }
}

/** Executors of different speed: some calls end long after those that began later. */
function executors(faults: Faults, bad: ReadonlySet<number>): BatchHandler {
  return {
    concurrency: 3,
    async handle(outcomes) {
      await turns(faults.next() % 7)
      if (faults.next() < 10) throw retryable('down', 'a dependency is down')
      for (const { batch, emitColumns, reject, defer } of outcomes) {
        // as the hot path does it: columns with room to spare
        const sources = new Int32Array(batch.length)
        const values: Buffer[] = []
        for (let i = 0; i < batch.length; i++) {
          const offset = batch.offset(i)
          if (bad.has(offset)) {
            reject(i, { kind: 'rejected', reason: 'bad', message: '' })
            continue
          }
          sources[values.length] = i
          values.push(Buffer.from(`o${offset}`))
        }
        const keys = slicesOf(values.map(() => null))
        emitColumns('out', { length: values.length, sources, keys, values: slicesOf(values), subjectOf: () => ({}) })
        if (faults.next() < 6) defer(faults.next() % batch.length, 'not_now', 'waits')
      }
    },
  }
}

function start(lanes: ReadonlyMap<number, MemoryLane>, faults: Faults, bad: ReadonlySet<number>) {
  return startMemoryHop({
    lanes,
    handler: executors(faults, bad),
    claims: memoryClaims(lanes, {
      sourceOf: memorySourceOf,
      pause: () => turns(faults.next() % 4),
      failure: () => (faults.next() < 5 ? { landed: faults.next() < 50 } : null),
    }),
    source: { batchRows: 1 + (faults.next() % 9), maxBatchesOut: 4 },
    observer: { ...quietObserver, stopped: ({ message }) => expect(message).toBe('') },
  })
}

test('executors that finish out of order, killed at random, writes of unknown outcome: every record ends once, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 3 }),
      fc.integer(),
      fc.nat(6),
      async (lengths, seed, kills) => {
        const faults = faultsOf(seed)
        const lanes = memoryLanes(...lengths)
        const bad = new Set(Array.from({ length: 10 }, () => faults.next()))
        for (let killed = 0; ; killed++) {
          const { hop, source } = await start(lanes, faults, bad)
          if (killed < kills) {
            await turns(1 + (faults.next() % 40))
            source.commit()
            await turns(faults.next() % 10)
            // the process is gone, yet what it has sent may still land until the next claim
            source.crash()
            continue
          }
          await hop.value.ended
          await hop.stop()
          break
        }
        for (const { input, outputs, letters } of lanes.values()) {
          const all = Array.from(input, (_, offset) => offset)
          expect(outputs.map(memorySourceOf)).toEqual(all.filter((offset) => !bad.has(offset)))
          expect(letters.map(memorySourceOf).toSorted((a, b) => a - b)).toEqual(all.filter((offset) => bad.has(offset)))
        }
      },
    ),
    { numRuns: 300 },
  )
})
