import { type AvroReader, createAvroReader } from '../../../infra/runtime/avro/avro-reader.ts'
import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal, retryable } from '../../../infra/runtime/errors.ts'
import { ownPartition } from '../../../infra/runtime/kafka/exactly-once/claim-epoch.ts'
import { createFencing } from '../../../infra/runtime/kafka/exactly-once/fencing.ts'
import { createBatchSender } from '../../../infra/runtime/kafka/producer/batch-sender.ts'
import { outgoingColumns } from '../../../infra/runtime/kafka/producer/outgoing-columns.ts'
import { preferredCompression } from '../../../infra/runtime/kafka/record-batches/codecs/compression.ts'
import { sliceAt } from '../../../infra/runtime/kafka/record-batches/columns.ts'
import type { Started } from '../../../infra/runtime/lifecycle/scope.ts'
import { readContract, registerContract } from '../../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import type { Alert } from '../../../schemas/generated/records.ts'
import { ALERTS_TOPIC } from '../../../schemas/topics.ts'
import type { RuleState } from './alert-state.ts'

/** By name of the rule; one that is not there has never fired. */
export type RuleStates = ReadonlyMap<string, RuleState>

/** The alerts of one pipeline as the shared topic has them. Calls must not overlap. */
export interface AlertLog {
  /** As far as it can be read now; another process may be about to change them. */
  states(signal: AbortSignal): Promise<RuleStates>
  /**
   * Makes this process the only one that writes alerts of the pipeline, reads what every other one has written, and appends in one record
   * batch what `decide` makes of that. So a change is written once, whoever crashes and however many processes try: one that was
   * overtaken is refused with `lane_fenced` (retry), and one whose write has an unknown outcome (retry) finds out the next time.
   */
  append(decide: (states: RuleStates) => Promise<readonly Alert[]>, signal: AbortSignal): Promise<readonly Alert[]>
}

type AlertLogDeps = Pick<StageContext, 'brokers' | 'log' | 'registry' | 'clock' | 'logger' | 'config'> & {
  readonly pipeline: string
  readonly clickhouse: Pick<ClickHouseClient, 'rows'>
  readonly topic?: string
}

const PARTITION = 0
const REQUEST_TIMEOUT_MS = 10_000
const DELIVERY_TIMEOUT_MS = 15_000
const TRANSACTION_TIMEOUT_MS = 30_000
/** Without brokers for so long a call is given up: what else is watched must not wait for them. */
const PATIENCE_MS = 15_000
const MAX_BYTES_IN_FLIGHT = 4_194_304
/** Far shorter than brokers remember a fence: who was held up for longer claims anew. */
const CLAIM_HOLDS_MS = 60_000

interface Known extends RuleState {
  /** Append time of the record, epoch ms. */
  readonly at: number
}

export async function startAlertLog(deps: AlertLogDeps): Promise<Started<AlertLog>> {
  const { brokers, log, clock, logger, pipeline, topic = ALERTS_TOPIC } = deps
  const { type, schemaId } = await registerContract(deps, 'alert', topic)
  const reader: AvroReader<Alert> = createAvroReader<Alert>({
    schema: await readContract('alert'),
    name: 'alert',
    registry: deps.registry,
    clock,
    unknownSchemaWaitMs: deps.config.unknownSchemaWaitMs,
  })
  const fencing = createFencing({
    connections: brokers,
    logReader: log,
    clock,
    transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
    patienceMs: PATIENCE_MS,
  })
  const sender = createBatchSender({
    connections: brokers,
    clock,
    compression: preferredCompression(),
    lingerMs: 0,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    deliveryTimeoutMs: DELIVERY_TIMEOUT_MS,
    maxBytesInFlight: MAX_BYTES_IN_FLIGHT,
    onRetry: (retry) => logger.debug(retry, 'a batch is sent again'),
  })
  const known = new Map<string, Known>()
  let generation: string | null = null
  let position = 0

  function learn(rule: string, found: Known): void {
    if (found.at >= (known.get(rule)?.at ?? Number.NEGATIVE_INFINITY)) known.set(rule, found)
  }

  /** What the topic does not keep any more is in the table; what is not in the table yet is in the topic. */
  async function readStored(): Promise<void> {
    const rows = await deps.clickhouse.rows<{ rule: string; state: Alert['state']; until: number; at: number }>(
      `SELECT toString(a.rule) AS rule, toString(argMax(a.state, a.latest)) AS state,
         argMax(toFloat64(toUnixTimestamp64Milli(a.at)), a.latest) AS until, toFloat64(toUnixTimestamp64Milli(max(a.written_at))) AS at
       FROM (SELECT rule, state, at, written_at, (written_at, kafka_offset) AS latest FROM alerts WHERE pipeline = {pipeline:String}) AS a
       GROUP BY a.rule`,
      { pipeline },
    )
    for (const { rule, state, until, at } of rows) learn(rule, { state, until, at })
  }

  /** From the beginning when it is another topic than before. */
  async function requireTopic(signal: AbortSignal): Promise<string> {
    const found = (await brokers.topics([topic])).get(topic)
    if (found === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist: run millrace topics`)
    if (found.id !== generation) {
      await readStored()
      position = 0
      generation = found.id
    }
    const { start } = await log.range(topic, PARTITION, 'read_uncommitted', signal)
    position = Math.max(position, start)
    return found.id
  }

  async function readTo(end: number, signal: AbortSignal): Promise<void> {
    for await (const set of log.read(topic, PARTITION, position, end, { signal })) {
      const values = Array.from({ length: set.length }, (_, row) => sliceAt(set.values, row))
      await reader.prepare(values)
      for (const [row, value] of values.entries()) {
        const decoded = reader.decode(value)
        const offset = set.offsets[row]
        if (!decoded.ok && decoded.pending)
          throw retryable('unknown_schema', `${topic} at ${offset}: ${decoded.message}`)
        if (!decoded.ok) logger.warn({ offset, reason: decoded.reason }, 'a record of the alerts topic is no alert')
        else if (decoded.record.pipeline === pipeline) {
          const { rule, state, at } = decoded.record
          learn(rule, { state, until: at, at: set.timestamps[row] ?? 0 })
        }
      }
      position = set.nextOffset
    }
  }

  return {
    value: {
      async states(stopping) {
        const signal = patient(stopping)
        await requireTopic(signal)
        await readTo((await log.range(topic, PARTITION, 'read_uncommitted', signal)).end, signal)
        return known
      },

      async append(decide, stopping) {
        const signal = patient(stopping)
        const id = await requireTopic(signal)
        const claimedAt = clock.monotonic()
        const target = { transactionalId: `${topic}/${pipeline}`, topic, partition: PARTITION }
        const bumped = await fencing.bumpEpoch(target, signal)
        const { producer, marker } = await ownPartition(fencing, target, bumped, signal)
        await readTo(marker + 1, signal)
        const alerts = await decide(known)
        if (alerts.length === 0) return []
        const partition = sender.open({
          ...{ topic, partition: PARTITION, producer, generation: id, logEnd: marker + 1 },
          trusted: () => clock.monotonic() - claimedAt < CLAIM_HOLDS_MS,
        })
        try {
          const records = alerts.map((alert) => ({ key: Buffer.from(pipeline), value: type.encode(schemaId, alert) }))
          await partition.append(outgoingColumns(records, clock.now()))
        } finally {
          partition.end(retryable('lane_closed', `alerts of ${pipeline} were written`))
        }
        await readTo((await log.range(topic, PARTITION, 'read_uncommitted', signal)).end, signal)
        return alerts
      },
    },
    stop: async () => sender.close(),
  }
}

function patient(stopping: AbortSignal): AbortSignal {
  return AbortSignal.any([stopping, AbortSignal.timeout(2 * PATIENCE_MS)])
}
