import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { type LaneHop, startLaneHop } from '../../infra/runtime/kafka/hop/lane-hop.ts'
import type { BatchHandler } from '../../infra/runtime/kafka/outcome.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { readContract } from '../../infra/runtime/stage-hop.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { type MemoryLane, memoryClaims, memoryLane, startMemoryLaneSource } from '../support/memory-lanes.ts'

const type = parseAvroSchema(await readContract('dead-letter'), 'dead-letter')
const letterOf = (value: Buffer): DeadLetter => type.readerOf(type)(value) as DeadLetter
const sourceOf = (value: Buffer): number =>
  value[0] === 'o'.charCodeAt(0) ? Number(value.toString().slice(1)) : letterOf(value).source_offset

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
      for (const { batch, emit, reject, defer } of outcomes) {
        for (let i = 0; i < batch.length; i++) {
          const offset = batch.offset(i)
          if (bad.has(offset)) reject(i, { kind: 'rejected', reason: 'bad', message: '' })
          else emit(i, 'out', null, Buffer.from(`o${offset}`))
        }
        if (faults.next() < 6) defer(faults.next() % batch.length, 'not_now', 'waits')
      }
    },
  }
}

async function start(lanes: ReadonlyMap<number, MemoryLane>, faults: Faults, bad: ReadonlySet<number>) {
  let source: Awaited<ReturnType<typeof startMemoryLaneSource>> | undefined
  const claims = memoryClaims(lanes, {
    sourceOf,
    pause: () => turns(faults.next() % 4),
    failure: () => (faults.next() < 5 ? { landed: faults.next() < 50 } : null),
  })
  const hop: Started<LaneHop> = await startLaneHop({
    startSource: async (hooks) => {
      source = await startMemoryLaneSource(lanes, hooks, { batchRows: 1 + (faults.next() % 9), maxBatchesOut: 4 })
      return source
    },
    claims,
    handler: executors(faults, bad),
    input: { topic: 'p.in', generation: 'generation' },
    output: { name: 'out', topic: 'p.out' },
    deadLetters: {
      stage: 's',
      pipeline: 'p',
      type,
      schemaId: 7,
      replayOfHeader: 'millrace-replay-of',
      clock: systemClock,
      topic: 'p.dead-letters',
    },
    originOf: (batch, index) => ({ generation: batch.generation, offset: batch.offset(index) }),
    limits: { maxRows: 100, maxBytes: 10_000, lingerMs: 0 },
    retry: { baseMs: 0, maxMs: 0 },
    clock: systemClock,
    observer: { settled() {}, retrying() {}, deferred() {}, stopped: ({ message }) => expect(message).toBe('') },
  })
  if (source === undefined) throw new Error('no source')
  return { hop, source }
}

test('executors that finish out of order, killed at random, writes of unknown outcome: every record ends once, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 3 }),
      fc.integer(),
      fc.nat(6),
      async (lengths, seed, kills) => {
        const faults = faultsOf(seed)
        const lanes = new Map(
          lengths.map((length, partition) => [partition, memoryLane(Array.from({ length }, () => ({})))]),
        )
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
          expect(outputs.map(sourceOf)).toEqual(all.filter((offset) => !bad.has(offset)))
          expect(letters.map(sourceOf).toSorted((a, b) => a - b)).toEqual(all.filter((offset) => bad.has(offset)))
        }
      },
    ),
    { numRuns: 300 },
  )
})
