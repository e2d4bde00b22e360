import { createSchemaRegistry, type RegistryConfig } from '../../infra/runtime/avro/schema-registry.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { describeError, MillraceError, rejected } from '../../infra/runtime/errors.ts'
import { startAvroProducer } from '../../infra/runtime/kafka/avro-producer.ts'
import type { Appended } from '../../infra/runtime/kafka/batching-producer.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient, type KafkaConfig } from '../../infra/runtime/kafka/kafka-client.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { createScope, type Started } from '../../infra/runtime/lifecycle/scope.ts'
import { type Logger, silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { TENANT_HEADER, TRACEPARENT_HEADER } from '../../schemas/headers.ts'
import type { AvroSchema } from '../../schemas/pipeline/compiled.ts'
import { formatRequestId } from '../../schemas/request-id.ts'
import { valueSubject } from '../../schemas/topics.ts'

export interface EventProducerOptions<T> {
  /** `brokers` as `host:port`; `tls` with PEM texts, `{}` for TLS with the system's CAs; `sasl`. */
  readonly kafka: KafkaConfig
  /** `url` of the Confluent-compatible API; `username` and `password` for basic authentication; `tls`. */
  readonly registry: RegistryConfig
  /** Must exist, e.g. `flights.events`. Its partition count is read once, at the start. */
  readonly topic: string
  /** Where the schema is registered; by default `<topic>-value`. */
  readonly subject?: string
  /** Avro record schema, as JSON. */
  readonly schema: AvroSchema
  /** Events with the same key keep their order. Null = no key: such events are spread over the partitions. */
  readonly keyOf: (record: T) => string | null
  /** Name of the pipeline that reads the topic: with it, every answer carries a request id. */
  readonly pipeline?: string
  /** How this service appears in the brokers' logs and quotas. */
  readonly clientId?: string
  /** How long a record waits for others to share its request with, ms. Default 5; 0 = not at all. */
  readonly lingerMs?: number
  /** Records per request and partition. Default 5,000. */
  readonly maxBatchRecords?: number
  /** Keys, values and headers that are not acknowledged yet, bytes; beyond it `send` waits. Default 16 MiB. */
  readonly maxBytesInFlight?: number
  /** How long `stop` waits for acknowledgements, ms. Default 30,000. */
  readonly stopWithinMs?: number
  readonly logger?: Logger
}

export interface EventHeaders {
  /** Counts only on topics that the pipeline reads tenants from. */
  readonly tenant?: string
  /** W3C trace context of the caller. */
  readonly traceparent?: string
}

/** Acknowledged by all in-sync replicas. */
export interface Sent extends Appended {
  /** What the prediction can be asked for by. Null without `pipeline`, or on a topic without LogAppendTime. */
  readonly requestId: string | null
}

export type SendResult =
  | { readonly ok: true; readonly sent: Sent }
  | { readonly ok: false; readonly error: MillraceError }

/**
 * Publishes Avro events. Calls may overlap and need not be awaited one by one: records are batched per partition and
 * keep the order of the calls. Unreachable brokers are tried again without an end, while `send` waits. A batch that is sent again
 * is stored once; only after 30 s without any acknowledgement is it written anew, and may then be in the topic twice. Do
 * not change a record before its promise has settled.
 */
export interface EventProducer<T> {
  /**
   * Rejects with a MillraceError; its `code` says what happened, its `fate` what to do:
   *
   *   invalid_record, record_too_large   `reject`  this record can never be sent; the message names the field
   *   not_acknowledged                   `retry`   stopped before an answer came: it may or may not be in the topic
   *   producer_stopped                   `crash`   sent after `stop`
   *   kafka_refused, …                   `crash`   e.g. no right to write: every further call fails with it
   */
  send(record: T, headers?: EventHeaders): Promise<Sent>
  /** One result per record, by index. A record that fails leaves its neighbours alone. Never rejects. */
  sendAll(records: readonly T[], headers?: EventHeaders): Promise<readonly SendResult[]>
  /** Resolves when `send` would not have to wait. Await it in loops that do not await `send`, to bound memory. */
  ready(): Promise<void>
  /** Resolves when everything sent before the call was acknowledged or has failed. */
  flush(): Promise<void>
}

const DEFAULTS = { lingerMs: 5, maxBatchRecords: 5_000, maxBytesInFlight: 16_777_216, stopWithinMs: 30_000 }
/** Half of what brokers take by default, as their limit counts the whole request of a partition. */
const MAX_BATCH_BYTES = 524_288
const RETRY = { baseMs: 100, maxMs: 5_000 }

/**
 * Connects, and registers the schema under its subject or finds it there. `stop` sends what is left, waits for its
 * acknowledgement and disconnects.
 *
 * Rejects with a MillraceError: `kafka_unavailable` and `registry_unavailable` (retry: start again later),
 * `unknown_topic`, `invalid_schema`, `incompatible_schema`, `invalid_config`, `kafka_refused`, `registry_refused` (crash).
 */
export async function startEventProducer<T>(options: EventProducerOptions<T>): Promise<Started<EventProducer<T>>> {
  const { topic, schema, keyOf, pipeline, logger = silentLogger } = options
  const scope = createScope(logger)
  try {
    const client = createKafkaClient(options.kafka, options.clientId ?? 'millrace-producer', logger)
    const admin = await scope.start('Kafka admin', () => startKafkaAdmin(client))
    const connections = await scope.start('Kafka', async () => {
      const opened = createKafkaConnections({
        config: client.config,
        clientId: client.clientId,
        logger,
        clock: systemClock,
      })
      return { value: opened, stop: () => opened.close() }
    })
    const writer = await scope.start('Kafka writer', async () =>
      createIdempotentWriter({ connections, clock: systemClock, logger }),
    )
    const producer = await scope.start('producer', () =>
      startAvroProducer<T>({
        topic,
        subject: options.subject ?? valueSubject(topic),
        schema,
        keyOf,
        admin,
        writer,
        registry: createSchemaRegistry(options.registry),
        limits: {
          maxRecords: options.maxBatchRecords ?? DEFAULTS.maxBatchRecords,
          maxBytes: MAX_BATCH_BYTES,
          lingerMs: options.lingerMs ?? DEFAULTS.lingerMs,
        },
        maxBytesInFlight: options.maxBytesInFlight ?? DEFAULTS.maxBytesInFlight,
        stopWithinMs: options.stopWithinMs ?? DEFAULTS.stopWithinMs,
        retry: RETRY,
        clock: systemClock,
        onRetry: ({ partition, attempt, error }) =>
          logger.warn({ ...describeError(error), topic, partition, attempt }, 'events wait for Kafka'),
      }),
    )
    const send = async (record: T, headers?: EventHeaders): Promise<Sent> => {
      const appended = await producer.send(record, headerBytes(headers))
      return { ...appended, requestId: requestIdOf(pipeline, appended) }
    }
    return {
      value: {
        send,
        sendAll: (records, headers) => Promise.all(records.map((record) => resultOf(send(record, headers)))),
        ready: async () => {
          await producer.room()
        },
        flush: () => producer.flush(),
      },
      stop: () => scope.close(),
    }
  } catch (error) {
    await scope.close()
    throw error
  }
}

async function resultOf(sending: Promise<Sent>): Promise<SendResult> {
  try {
    return { ok: true, sent: await sending }
  } catch (error) {
    if (error instanceof MillraceError) return { ok: false, error }
    // what `keyOf` throws is about this record
    return { ok: false, error: rejected('invalid_record', (error as Error).message, error) }
  }
}

function requestIdOf(pipeline: string | undefined, { partition, offset, appendedAt }: Appended): string | null {
  if (pipeline === undefined || appendedAt < 0) return null
  return formatRequestId(pipeline, appendedAt, partition, offset)
}

function headerBytes(headers: EventHeaders | undefined): Readonly<Record<string, Buffer>> | undefined {
  if (headers === undefined) return undefined
  const { tenant, traceparent } = headers
  return {
    ...(tenant === undefined ? {} : { [TENANT_HEADER]: Buffer.from(tenant) }),
    ...(traceparent === undefined ? {} : { [TRACEPARENT_HEADER]: Buffer.from(traceparent) }),
  }
}
