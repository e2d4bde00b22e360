import { expect, test, vi } from 'vitest'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import type { BatchHandler } from '../../infra/runtime/kafka/outcome.ts'
import { letterOf, memoryLanes, memorySourceOf, quietObserver, startMemoryHop } from '../support/memory-hop.ts'
import { type MemoryLane, memoryClaims } from '../support/memory-lanes.ts'

const copy: BatchHandler = {
  async handle(outcomes) {
    for (const { batch, emit } of outcomes) {
      for (let i = 0; i < batch.length; i++) emit(i, 'out', batch.key(i), Buffer.from(`o${batch.offset(i)}`))
    }
  },
}

const outputsOf = (lane: MemoryLane | undefined): number[] => (lane?.outputs ?? []).map(memorySourceOf)

test('each lane is written to its own partition, in order', async () => {
  const lanes = memoryLanes(25, 3)
  const { hop } = await startMemoryHop({ lanes, handler: copy })
  await hop.value.ended
  await hop.stop()
  expect(outputsOf(lanes.get(0))).toEqual(Array.from({ length: 25 }, (_, offset) => offset))
  expect(outputsOf(lanes.get(1))).toEqual([0, 1, 2])
})

test('a dead letter has the original bytes and coordinates, and is in the log before the outputs of its batch', async () => {
  const lanes = memoryLanes(2)
  const lane = lanes.get(0) as MemoryLane
  const before: number[] = []
  const push = lane.outputs.push.bind(lane.outputs)
  lane.outputs.push = (...values) => {
    before.push(lane.letters.length)
    return push(...values)
  }
  const handler: BatchHandler = {
    async handle([outcome]) {
      outcome?.emit(0, 'out', null, Buffer.from('o0'))
      outcome?.reject(1, { kind: 'rejected', reason: 'broken', message: 'field x', eventId: 'e1', tenant: 't' })
    },
  }
  const { hop } = await startMemoryHop({ lanes, handler })
  await hop.value.ended
  expect(before).toEqual([1])
  expect(lane.letters.map(letterOf)).toMatchObject([
    { stage: 's', reason: 'broken', source_offset: 1, origin_offset: 1, event_id: 'e1', value: Buffer.from('i1') },
  ])
})

test('a retry error of the handler hands the same batch in again; one of the writer claims the lane again', async () => {
  const lanes = memoryLanes(3)
  const retried: string[] = []
  const failures: { readonly landed: boolean }[] = [{ landed: false }]
  let calls = 0
  const handler: BatchHandler = {
    async handle(outcomes) {
      calls += 1
      if (calls === 1) throw retryable('redis_unavailable', 'down')
      await copy.handle(outcomes)
    },
  }
  const { hop } = await startMemoryHop({
    lanes,
    handler,
    claims: memoryClaims(lanes, { sourceOf: memorySourceOf, failure: () => failures.shift() ?? null }),
    observer: { ...quietObserver, retrying: ({ code }) => void retried.push(code) },
  })
  await hop.value.ended
  expect(retried).toEqual(['redis_unavailable', 'outcome_unknown'])
  expect(outputsOf(lanes.get(0))).toEqual([0, 1, 2])
})

test('what is not understood ends the hop and writes nothing', async () => {
  const lanes = memoryLanes(1)
  const handler: BatchHandler = { handle: () => Promise.reject(new TypeError('bug')) }
  const { hop } = await startMemoryHop({ lanes, handler })
  await expect(hop.value.ended).rejects.toThrow('bug')
  expect(lanes.get(0)?.outputs).toEqual([])
})

test('a partition whose logs do not add up stops, with its code; the others flow on', async () => {
  const lanes = memoryLanes(2, 2)
  const sound = memoryClaims(lanes, { sourceOf: memorySourceOf })
  const stopped: string[] = []
  const done = Promise.withResolvers<void>()
  const { hop } = await startMemoryHop({
    lanes,
    handler: copy,
    claims: {
      ...sound,
      claim: (lane, ...rest) =>
        lane.partition === 0
          ? Promise.reject(fatal('output_truncated', 'the output ends below the commit'))
          : sound.claim(lane, ...rest),
    },
    observer: {
      ...quietObserver,
      settled: () => done.resolve(),
      stopped: ({ partition, code }) => void stopped.push(`${partition} ${code}`),
    },
  })
  await done.promise
  await hop.stop()
  expect(stopped).toEqual(['0 output_truncated'])
  expect([...lanes.values()].map(outputsOf)).toEqual([[], [0, 1]])
})

test('a deferred record holds its lane back, those before it are written, other lanes flow on', async () => {
  const lanes = memoryLanes(3, 1)
  const deferrals: number[] = []
  let turns = 3
  const handler: BatchHandler = {
    async handle(outcomes) {
      await copy.handle(outcomes)
      for (const { batch, defer } of outcomes) {
        for (let i = 0; i < batch.length && batch.partition === 0 && turns > 0; i++) {
          if (batch.offset(i) === 1) {
            turns -= 1
            defer(i, 'no_model', 'unknown feature set')
          }
        }
      }
    },
  }
  const { hop } = await startMemoryHop({
    lanes,
    handler,
    observer: { ...quietObserver, deferred: ({ offset }) => void deferrals.push(offset) },
  })
  await hop.value.ended
  expect(deferrals).toEqual([1, 1, 1])
  expect([...lanes.values()].map(outputsOf)).toEqual([[0, 1, 2], [0]])
})

test('stop gives up a batch that waits for a dependency', async () => {
  const lanes = memoryLanes(1)
  const waiting = Promise.withResolvers<void>()
  const { hop } = await startMemoryHop({
    lanes,
    handler: { handle: () => Promise.reject(retryable('down', 'down')) },
    retry: { baseMs: 60_000, maxMs: 60_000 },
    observer: { ...quietObserver, retrying: () => waiting.resolve() },
  })
  await waiting.promise
  await hop.stop()
  expect(lanes.get(0)?.outputs).toEqual([])
})

test('a batch whose handler does not come back holds no other, and is not raced anew for each of them', async () => {
  const lanes = memoryLanes(1_000)
  const stuck = Promise.withResolvers<void>()
  const through = Promise.withResolvers<void>()
  const race = vi.spyOn(Promise, 'race')
  let handled = 0
  const handler: BatchHandler = {
    concurrency: 2,
    async handle(outcomes) {
      await copy.handle(outcomes)
      if (outcomes[0]?.batch.offset(0) === 0) await stuck.promise
      else if (++handled === 999) through.resolve()
    },
  }
  const { hop } = await startMemoryHop({ lanes, handler, source: { batchRows: 1, maxBatchesOut: 1_000 } })
  await through.promise
  const races = race.mock.calls.length
  race.mockRestore()
  stuck.resolve()
  await hop.value.ended
  await hop.stop()
  expect(races).toBeLessThan(20)
  expect([...lanes.values()].map((lane) => outputsOf(lane).length)).toEqual([1_000])
})
