import type { StageMetrics } from '../../../schemas/generated/records.ts'
import type { AvroType } from '../avro/avro-type.ts'
import type { Clock } from '../clock.ts'
import type { SettledRound } from '../kafka/hop/hop-observer.ts'
import type { RecordWriter } from '../kafka/record-writer.ts'
import type { Started } from '../lifecycle/scope.ts'
import type { Logger } from './logger.ts'

/** Sums what a stage's hops did and writes one StageMetrics record per interval in which anything happened. */
export interface StageReport {
  settled(round: SettledRound): void
  retried(): void
}

export interface StageReportOptions {
  readonly pipeline: string
  readonly stage: string
  readonly instance: string
  readonly intervalMs: number
  readonly topic: string
  readonly type: AvroType
  readonly schemaId: number
  readonly writer: RecordWriter
  readonly clock: Clock
  readonly logger: Logger
}

interface Sums {
  records_in: number
  records_out: number
  dead_letters: number
  batches: number
  retries: number
  busy_ms: number
  largest_batch: number
  released_full: number
  released_drained: number
  released_deadline: number
  released_linger: number
  longest_wait_ms: number
  mean_fill: number
  ready_epoch: number
}

const nothing = (): Sums => ({
  records_in: 0,
  records_out: 0,
  dead_letters: 0,
  batches: 0,
  retries: 0,
  busy_ms: 0,
  largest_batch: 0,
  released_full: 0,
  released_drained: 0,
  released_deadline: 0,
  released_linger: 0,
  longest_wait_ms: 0,
  mean_fill: 0,
  ready_epoch: -1,
})

export function startStageReport(options: StageReportOptions): Started<StageReport> {
  const { pipeline, stage, instance, clock, logger } = options
  let sums = nothing()
  let since = clock.monotonic()
  let writing: Promise<void> = Promise.resolve()

  async function write(): Promise<void> {
    if (sums.batches === 0 && sums.retries === 0) {
      since = clock.monotonic()
      return
    }
    const interval = Math.round(clock.monotonic() - since)
    const report: StageMetrics = { pipeline, stage, instance, at: clock.now(), interval_ms: interval, ...sums }
    sums = nothing()
    since = clock.monotonic()
    const value = options.type.encode(options.schemaId, report)
    try {
      await options.writer.write([
        { topic: options.topic, partition: 0, records: [{ key: Buffer.from(stage), value }] },
      ])
    } catch (error) {
      // telemetry is the one thing that may be lost, and says so
      logger.warn({ error: (error as Error).message }, 'stage metrics of one interval were not written')
    }
  }

  const timer = setInterval(() => {
    writing = writing.then(write)
  }, options.intervalMs)

  return {
    value: {
      settled(round) {
        sums.records_in += round.recordsIn
        sums.records_out += round.recordsOut
        sums.dead_letters += round.recordsIn - round.recordsOut
        sums.batches += round.batches
        sums.busy_ms += round.busyMs
        sums.largest_batch = Math.max(sums.largest_batch, round.largestBatch)
      },
      retried() {
        sums.retries += 1
      },
    },
    async stop() {
      clearInterval(timer)
      await writing
      await write()
    },
  }
}
