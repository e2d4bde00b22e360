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
  /** Of the interval since it was last called; stages without models have none. */
  readonly modelFacts?: () => ModelFacts
}

interface Sums {
  records_in: number
  records_out: number
  dead_letters: number
  batches: number
  retries: number
  busy_ms: number
  largest_batch: number
}

/** What only stages with models have to say. */
export type ModelFacts = Pick<
  StageMetrics,
  | 'released_full'
  | 'released_drained'
  | 'released_deadline'
  | 'released_linger'
  | 'longest_wait_ms'
  | 'mean_fill'
  | 'ready_epoch'
>

const NO_MODELS: ModelFacts = {
  released_full: 0,
  released_drained: 0,
  released_deadline: 0,
  released_linger: 0,
  longest_wait_ms: 0,
  mean_fill: 0,
  ready_epoch: -1,
}

const nothing = (): Sums => ({
  records_in: 0,
  records_out: 0,
  dead_letters: 0,
  batches: 0,
  retries: 0,
  busy_ms: 0,
  largest_batch: 0,
})

export function startStageReport(options: StageReportOptions): Started<StageReport> {
  const { pipeline, stage, instance, clock, logger } = options
  let sums = nothing()
  let since = clock.monotonic()
  let writing: Promise<void> = Promise.resolve()

  async function write(): Promise<void> {
    const now = clock.monotonic()
    const interval = Math.round(now - since)
    since = now
    const models = options.modelFacts?.() ?? NO_MODELS
    // what is released now is often settled only in the next interval
    const released = models.released_full + models.released_drained + models.released_deadline + models.released_linger
    if (sums.batches === 0 && sums.retries === 0 && released === 0) return
    const report: StageMetrics = {
      pipeline,
      stage,
      instance,
      at: clock.now(),
      interval_ms: interval,
      ...sums,
      ...models,
    }
    sums = nothing()
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
