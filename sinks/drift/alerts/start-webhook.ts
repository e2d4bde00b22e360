import { createAvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import { retryable } from '../../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneHooks, LaneSource } from '../../../infra/runtime/kafka/consumer/lane-source.ts'
import { sliceAt } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import { untilDone } from '../../../infra/runtime/lifecycle/retry.ts'
import { readContract } from '../../../infra/runtime/stage-contracts.ts'
import { joinStageGroup } from '../../../infra/runtime/stage-lanes.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import type { Alert } from '../../../schemas/generated/records.ts'
import { ALERTS_TOPIC, consumerGroup } from '../../../schemas/topics.ts'
import { silenceEnd } from './alert-state.ts'
import { createHeldAlerts, readHeldNote, type TopicAlert } from './held-alerts.ts'
import { sendAlert, type WebhookOutcome, type WebhookTarget } from './webhook.ts'

export interface WebhookObserver {
  /** Once of each alert; `silent` = nobody was told: a silence has seen more of its rule. */
  ended(alert: Alert, outcome: WebhookOutcome | 'silent'): void
  retrying(attempt: { readonly code: string; readonly message: string; readonly attempt: number }): void
}

const LIMITS = { maxRows: 100, maxBytes: 1_048_576, lingerMs: 0 }
/** The one that has alerts. */
const PARTITION = 0
/** How often it is looked whether a silence is over. */
const LOOK_MS = 1_000

/**
 * Tells the receiver of the pipeline's alerts, in their order, from when it was first configured: at least once each, with one id. It reads
 * the topic with a group of its own, so that an alert outlives the process that wrote it; nothing waits for the receiver but the
 * alerts behind. What is written in a rule's silence is held until its end, and noted with the group's position.
 */
export async function startWebhook(
  context: StageContext,
  target: WebhookTarget,
  observer: WebhookObserver,
): Promise<void> {
  const { brokers, clock, config, log, pipeline, registry, retry } = context
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
  const held = createHeldAlerts()
  let generation = ''

  const dueAt = (rule: string, at: number): number => silenceEnd(silences.get(rule) ?? null, at)

  /** Null = not an alert of the pipeline; what is no alert at all is a dead letter of the sink. */
  function alertOf(value: Buffer | null, offset: number, writtenAt: number): TopicAlert | null {
    const decoded = reader.decode(value)
    if (!decoded.ok && decoded.pending) throw retryable('unknown_schema', decoded.message)
    if (!decoded.ok || decoded.record.pipeline !== pipeline.name) return null
    const alert = decoded.record
    return { id: `${generation}-${offset}`, alert, offset, writtenAt, dueAt: dueAt(alert.rule, writtenAt) }
  }

  async function alertsIn(batch: ColumnBatch): Promise<readonly TopicAlert[]> {
    const values = Array.from({ length: batch.length }, (_, row) => batch.value(row))
    await reader.prepare(values)
    return values.flatMap((value, row) => alertOf(value, batch.offset(row), batch.timestamp(row)) ?? [])
  }

  /** Those that the topic still has. */
  async function alertsAt(offsets: readonly number[], signal: AbortSignal): Promise<readonly TopicAlert[]> {
    const { start, end } = await log.range(ALERTS_TOPIC, PARTITION, 'read_committed', signal)
    const alerts: TopicAlert[] = []
    for (const offset of offsets.filter((each) => each >= start && each < end)) {
      for await (const set of log.read(ALERTS_TOPIC, PARTITION, offset, offset + 1, { signal })) {
        for (let row = 0; row < set.length; row++) {
          const value = sliceAt(set.values, row)
          await reader.prepare([value])
          const alert = alertOf(value, set.offsets[row] as number, set.timestamps[row] as number)
          if (alert !== null) alerts.push(alert)
        }
      }
    }
    return alerts
  }

  /** False when it was stopped before. */
  async function send(alert: TopicAlert, stopping: AbortSignal): Promise<boolean> {
    const outcome = await sendAlert(deps, alert, stopping)
    if (outcome === 'stopped') return false
    held.release(alert)
    observer.ended(alert.alert, outcome)
    return true
  }

  /** False when it was stopped before. */
  async function deliver(batch: ColumnBatch, stopping: AbortSignal): Promise<boolean> {
    const backoff = { backoff: retry, clock, logger: lanes.logger, signal: stopping }
    for (const sent of await untilDone('alerts', () => alertsIn(batch), backoff)) {
      const { rule } = sent.alert
      if (sent.dueAt > sent.writtenAt && held.hasRoom(rule)) {
        for (const dropped of held.hold(sent)) observer.ended(dropped.alert, 'silent')
        continue
      }
      // a silence before it that has ended while nobody was there to say so
      const before = held.of(rule)
      if (before !== undefined && !(await send(before, stopping))) return false
      if (!(await send(sent, stopping))) return false
    }
    return true
  }

  /** Sends what was held, once its silence is over and all of the topic is known: it may be resolved by now. */
  async function release(source: LaneSource, stopping: AbortSignal): Promise<void> {
    const now = clock.now()
    const due = held.all().filter(({ alert, dueAt: at }) => now >= at && dueAt(alert.rule, now) === now)
    if (due.length === 0) return
    const { end } = await log.range(ALERTS_TOPIC, PARTITION, 'read_committed', stopping)
    for (const alert of due) {
      const settled = source.positions().get(PARTITION)?.settled
      if (settled === undefined || settled < end || !(await send(alert, stopping))) return
      if (!(await source.commit(PARTITION, settled, held.note(generation)))) return
    }
  }

  async function loop(source: LaneSource, stopping: AbortSignal): Promise<void> {
    for (;;) {
      const arrived = new AbortController()
      const taking = source.take(LIMITS).finally(() => arrived.abort())
      taking.catch(() => {})
      try {
        for (;;) {
          await clock.sleep(LOOK_MS, arrived.signal)
          if (arrived.signal.aborted) break
          await release(source, stopping)
        }
        const batches = await taking
        if (batches.length === 0) return
        for (const batch of batches) {
          if (source.owns(batch) && !(await deliver(batch, stopping))) return
          source.settle(batch)
        }
      } catch (error) {
        if (!stopping.aborted) throw error
        return
      }
    }
  }

  const hooks: LaneHooks = {
    async open(partition, { offset, metadata }, signal) {
      if (partition !== PARTITION) return offset
      generation = (await brokers.topics([ALERTS_TOPIC])).get(ALERTS_TOPIC)?.id ?? ''
      const places = readHeldNote(metadata, generation)
      const offsets = places.map((place) => place.offset)
      held.begin(places, await alertsAt(offsets, signal))
      return offset
    },
    metadata: (partition) => (partition === PARTITION ? held.note(generation) : ''),
    async close(partition) {
      if (partition === PARTITION) held.begin([], [])
    },
  }
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
