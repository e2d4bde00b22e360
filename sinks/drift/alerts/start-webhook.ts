import { createAvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { retryable } from '../../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneHooks, LaneSource } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import { untilDone } from '../../../infra/runtime/lifecycle/retry.ts'
import { readContract } from '../../../infra/runtime/stage-contracts.ts'
import { joinStageGroup } from '../../../infra/runtime/stage-lanes.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import type { Alert } from '../../../schemas/generated/records.ts'
import { ALERTS_TOPIC, consumerGroup } from '../../../schemas/topics.ts'
import { isSilent } from './alert-state.ts'
import { type SentAlert, sendAlert, type WebhookOutcome, type WebhookTarget } from './webhook.ts'

export interface WebhookObserver {
  ended(alert: Alert, outcome: WebhookOutcome | 'silent'): void
  retrying(attempt: { readonly code: string; readonly message: string; readonly attempt: number }): void
}

const LIMITS = { maxRows: 100, maxBytes: 1_048_576, lingerMs: 0 }

/**
 * Tells the receiver of the pipeline's alerts, in their order, from when it was first configured: at least once each, with one id. It reads
 * the topic with a group of its own, so that an alert outlives the process that wrote it; nothing waits for the receiver but the
 * alerts behind.
 */
export async function startWebhook(
  context: StageContext,
  target: WebhookTarget,
  observer: WebhookObserver,
): Promise<void> {
  const { pipeline, clock, config, registry, retry } = context
  const name = 'sinks-webhook'
  const lanes = {
    name: `${pipeline.name}.${name}`,
    group: consumerGroup(pipeline.name, 'sinks.webhook'),
    topic: ALERTS_TOPIC,
    logger: context.logger.child({ hop: name }),
  }
  const reader = createAvroReader<Alert>({
    schema: await readContract('alert'),
    name: 'alert',
    registry,
    clock,
    unknownSchemaWaitMs: config.unknownSchemaWaitMs,
  })
  const silences = new Map(pipeline.monitor.rules.map((rule) => [rule.name, rule.silence]))
  const deps = { target, clock, retry, retrying: observer.retrying }

  async function alertsIn(batch: ColumnBatch): Promise<readonly SentAlert[]> {
    const values = Array.from({ length: batch.length }, (_, row) => batch.value(row))
    await reader.prepare(values)
    return values.flatMap((value, row) => {
      const decoded = reader.decode(value)
      if (!decoded.ok && decoded.pending) throw retryable('unknown_schema', decoded.message)
      // what is no alert is a dead letter of the sink
      if (!decoded.ok || decoded.record.pipeline !== pipeline.name) return []
      const id = `${batch.generation}-${batch.offset(row)}`
      return [{ id, alert: decoded.record, writtenAt: batch.timestamp(row) }]
    })
  }

  async function deliver(batch: ColumnBatch, stopping: AbortSignal): Promise<void> {
    const backoff = { backoff: retry, clock, logger: lanes.logger, signal: stopping }
    for (const sent of await untilDone('alerts', () => alertsIn(batch), backoff)) {
      const { rule } = sent.alert
      const outcome = isSilent(silences.get(rule) ?? null, sent.writtenAt)
        ? 'silent'
        : await sendAlert(deps, sent, stopping)
      if (outcome === 'stopped') return
      observer.ended(sent.alert, outcome)
    }
  }

  async function loop(source: LaneSource, stopping: AbortSignal): Promise<void> {
    for (;;) {
      const batches = await source.take(LIMITS)
      if (batches.length === 0) return
      for (const batch of batches) {
        try {
          if (source.owns(batch)) await deliver(batch, stopping)
        } catch (error) {
          if (!stopping.aborted) throw error
        }
        if (stopping.aborted) return
        source.settle(batch)
      }
    }
  }

  const hooks: LaneHooks = { open: async (_, { offset }) => offset }
  const running = await context.start(name, async () => {
    // what fired before anybody was to be told is no news
    const fromNow: StageContext = { ...context, config: { ...config, start: 'latest' } }
    const joined = await joinStageGroup(fromNow, lanes, hooks, async ({ to }) => to)
    const stopping = new AbortController()
    const ended = loop(joined.value, stopping.signal)
    ended.catch(() => {})
    return {
      value: { ended },
      async stop() {
        joined.value.endIntake()
        stopping.abort()
        try {
          await ended
        } finally {
          // what was not taken is sent by whoever comes next
          for (const [partition, { settled }] of joined.value.positions()) joined.value.rewind(partition, settled, 0)
          await joined.stop()
        }
      },
    }
  })
  // ready whatever becomes of the receiver
  context.watch({ ended: running.ended, health: { live: () => null, ready: () => null } })
}
