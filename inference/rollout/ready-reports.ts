import { createAvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { once, readContract, registerContract } from '../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import type { StageMetrics } from '../../schemas/generated/records.ts'
import { STAGE_METRICS_TOPIC } from '../../schemas/topics.ts'

/** What processes say of the epochs that they have loaded, through the stage metrics. */
export interface ReadyReports {
  /** Says it of this process. What cannot be written is logged: it is said again. */
  say(readyEpoch: number): Promise<void>
  /**
   * Highest epoch by instance, of the reports of all pipelines since the first call after `forget`; this reads what came since the
   * last call.
   */
  read(): Promise<ReadonlyMap<string, number>>
  forget(): void
}

const PARTITION = 0
const NOTHING_DONE = {
  interval_ms: 0,
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
}

export async function createReadyReports(context: StageContext): Promise<ReadyReports> {
  const { clock, config, instance, log, logger, pipeline, registry, stage, writer } = context
  const { type, schemaId } = await once(context, 'stage metrics schema', () =>
    registerContract(context, 'stage-metrics', STAGE_METRICS_TOPIC),
  )
  const reader = createAvroReader<StageMetrics>({
    schema: await readContract('stage-metrics'),
    name: 'stage metrics',
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })
  const epochs = new Map<string, number>()
  /** Null = the next call begins at the end. */
  let position: number | null = null

  return {
    async say(readyEpoch) {
      const report: StageMetrics = {
        ...{ pipeline: pipeline.name, stage, instance, at: clock.now() },
        ...NOTHING_DONE,
        ready_epoch: readyEpoch,
      }
      const records = [{ key: Buffer.from(stage), value: type.encode(schemaId, report) }]
      try {
        await writer.write([{ topic: STAGE_METRICS_TOPIC, partition: PARTITION, records }])
      } catch (error) {
        logger.warn(describeError(error), 'the epoch that is loaded here was not reported')
      }
    },
    async read() {
      const { start, end } = await log.range(STAGE_METRICS_TOPIC, PARTITION)
      if (position === null) position = end
      for await (const set of log.read(STAGE_METRICS_TOPIC, PARTITION, Math.max(position, start), end)) {
        const values = Array.from({ length: set.length }, (_, row) => sliceAt(set.values, row))
        await reader.prepare(values)
        for (const value of values) {
          const decoded = reader.decode(value)
          // what cannot be read is said again, or comes from somebody else
          if (!decoded.ok || decoded.record.ready_epoch < 0) continue
          const { instance: from, ready_epoch: epoch } = decoded.record
          epochs.set(from, Math.max(epoch, epochs.get(from) ?? -1))
        }
        position = set.nextOffset
      }
      return epochs
    },
    forget() {
      epochs.clear()
      position = null
    },
  }
}
