import { expect, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { createAssignedLanes } from '../../infra/runtime/kafka/consumer/assigned-lanes.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { eventually } from '../support/eventually.ts'

const soon = { deadlineMs: 30_000 }

test('partitions that were drained together go together; one that takes longer holds up nobody', async () => {
  const drained: (readonly number[])[] = []
  const slow = Promise.withResolvers<void>()
  const failed: unknown[] = []
  const lanes = createAssignedLanes({
    clock: systemClock,
    logger: silentLogger,
    topic: 't',
    generation: 'id',
    hooks: {
      open: async () => 0,
      close: async (partition) => {
        if (partition === 0) await slow.promise
      },
    },
    drainTimeoutMs: 60_000,
    committed: async () => new Map(),
    startOf: async () => 0,
    commit: async () => true,
    commitSettled: async () => {},
    onFlowing: () => {},
    onDrained: (partitions) => void drained.push(partitions),
    onLost: () => {},
    onFailed: (error) => void failed.push(error),
  })
  lanes.assign(new Set([0, 1, 2]))
  await eventually(() => expect([...lanes.all()].map(({ state }) => state)).toEqual(Array(3).fill('flowing')), soon)
  lanes.assign(new Set())
  await eventually(() => expect(drained).toEqual([[1, 2]]), soon)
  expect(lanes.owned()).toEqual([0])
  slow.resolve()
  await eventually(() => expect(drained).toEqual([[1, 2], [0]]), soon)
  expect([lanes.owned(), failed]).toEqual([[], []])
})
