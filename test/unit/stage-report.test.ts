/** When a stage reports, and that nothing of what it did is left out. */
import { expect, test } from 'vitest'
import type { AvroType } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { type ModelFacts, startStageReport } from '../../infra/runtime/telemetry/stage-report.ts'
import type { StageMetrics } from '../../schemas/generated/records.ts'

const NOTHING: ModelFacts = {
  ...{ released_full: 0, released_drained: 0, released_deadline: 0, released_linger: 0 },
  ...{ longest_wait_ms: 0, mean_fill: 0, ready_epoch: 4 },
}
const ROUND = {
  recordsIn: 3,
  recordsOut: 2,
  batches: 1,
  busyMs: 5,
  largestBatch: 3,
  rejectedByReason: new Map<string, number>(),
}

/** Reports of intervals, of which each has these facts; the last one ends with the stage. */
async function reportsOf(facts: ModelFacts, isSettled: boolean): Promise<readonly StageMetrics[]> {
  const reports: StageMetrics[] = []
  const encode = (_schemaId: number, report: StageMetrics): Buffer => {
    reports.push(report)
    return Buffer.alloc(0)
  }
  const { value, stop } = startStageReport({
    ...{ pipeline: 'p', stage: 'inference', instance: 'i', intervalMs: 3_600_000, topic: 't', schemaId: 1 },
    type: { encode } as Partial<AvroType> as AvroType,
    writer: { write: async () => [] },
    clock: systemClock,
    logger: silentLogger,
    modelFacts: () => facts,
  })
  if (isSettled) value.settled({ ...ROUND, partition: 0, deferredLanes: 0 })
  await stop()
  return reports
}

test('an interval in which nothing happened is not reported', async () => {
  expect(await reportsOf(NOTHING, false)).toEqual([])
  expect(await reportsOf(NOTHING, true)).toMatchObject([{ batches: 1, records_in: 3, dead_letters: 1, ready_epoch: 4 }])
})

test.each(['full', 'drained', 'deadline', 'linger'] as const)(
  'batches that were released (%s) in an interval in which none was settled are reported',
  async (reason) => {
    const facts = { ...NOTHING, [`released_${reason}`]: 2, longest_wait_ms: 7, mean_fill: 0.5 }
    expect(await reportsOf(facts, false)).toMatchObject([{ ...facts, batches: 0, records_in: 0 }])
  },
)
