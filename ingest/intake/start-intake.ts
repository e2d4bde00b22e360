import type { Backoff } from '../../infra/runtime/backoff.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { fateOf, MillraceError, rejected, retryable } from '../../infra/runtime/errors.ts'
import {
  type Appended,
  type BatchingProducerOptions,
  type RoutedRecord,
  startBatchingProducer,
} from '../../infra/runtime/kafka/batching-producer.ts'
import { partitionOfKey } from '../../infra/runtime/kafka/partitioner.ts'
import type { RecordWriter } from '../../infra/runtime/kafka/record-writer.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { TENANT_HEADER, TRACEPARENT_HEADER } from '../../schemas/headers.ts'
import { formatRequestId } from '../../schemas/request-id.ts'
import type { ReadItem } from '../mapping/event-reader.ts'
import { bodyDigest, type FinishedRequests } from './finished-requests.ts'
import type { Accepted, Intake, Submitter } from './intake.ts'

export interface IntakeOptions {
  readonly topic: string
  /** Of the topic. */
  readonly partitions: number
  /** Whose request ids the records have; null = they have none. */
  readonly pipeline: string | null
  /** Whether the record says whose it is. */
  readonly tenantHeader: boolean
  readonly writer: RecordWriter
  readonly lingerMs: number
  /** A request is told that its outcome is unknown after so long, ms. What it brought may still get into the topic. */
  readonly publishWithinMs: number
  /** What waits for an acknowledgement in all; one request may exceed it. */
  readonly maxBytesInFlight: number
  /** How long `stop` waits for acknowledgements, ms. */
  readonly stopWithinMs: number
  readonly retry: Backoff
  readonly clock: Clock
  readonly finished: FinishedRequests
  readonly onRetry: NonNullable<BatchingProducerOptions['onRetry']>
}

export interface RunningIntake extends Intake {
  /** Rejects when the topic takes nothing any more, e.g. for lack of rights; else never settles. */
  readonly ended: Promise<never>
}

type Outcome =
  | { readonly ok: true; readonly appended: Appended }
  | { readonly ok: false; readonly error: MillraceError }
type Readable = Extract<ReadItem, { readonly ok: true }>

interface Submission {
  /** Monotonic ms. */
  readonly since: number
  readonly bytes: number
}

const MAX_BATCH_RECORDS = 5_000
/** Half of what brokers take by default, as their limit counts the whole request of a partition. */
const MAX_BATCH_BYTES = 524_288
/** Key, headers and lengths of a record. */
const RECORD_OVERHEAD_BYTES = 128

/**
 * Events without a key go to the partition of their id, so that one that is sent again comes to the same lane, whose `dedupe` knows it.
 * `submit` throws `overloaded` (retry) when too much waits already.
 */
export function startIntake(options: IntakeOptions): Started<RunningIntake> {
  const { topic, partitions, pipeline, clock, finished, publishWithinMs, maxBytesInFlight } = options
  const producer = startBatchingProducer({
    ...options,
    limits: { maxRecords: MAX_BATCH_RECORDS, maxBytes: MAX_BATCH_BYTES, lingerMs: options.lingerMs },
    // `submit` counts and refuses: nothing queues in front of the producer
    maxBytesInFlight: Number.MAX_SAFE_INTEGER,
  })
  /** In the order in which they came. */
  const open = new Set<Submission>()
  let openBytes = 0
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {})

  function headersOf({ tenant, traceparent }: Submitter): RoutedRecord['headers'] {
    return {
      ...(options.tenantHeader ? { [TENANT_HEADER]: Buffer.from(tenant) } : {}),
      ...(traceparent === null ? {} : { [TRACEPARENT_HEADER]: Buffer.from(traceparent) }),
    }
  }

  async function send(item: Readable, headers: RoutedRecord['headers']): Promise<Outcome> {
    const record: RoutedRecord =
      item.key === null
        ? { key: null, value: item.value, partition: partitionOfKey(Buffer.from(item.id), partitions) }
        : { key: Buffer.from(item.key), value: item.value }
    try {
      const appended = await producer.value.send(() => (headers === undefined ? record : { ...record, headers }))
      return { ok: true, appended }
    } catch (error) {
      if (error instanceof MillraceError && error.fate === 'reject') return { ok: false, error }
      if (fateOf(error) === 'crash') failed.reject(error)
      throw error
    }
  }

  /** By index, null for items that cannot be read. */
  async function publish(items: readonly ReadItem[], by: Submitter): Promise<readonly (Outcome | null)[]> {
    let bytes = 0
    for (const item of items) if (item.ok) bytes += item.value.length + RECORD_OVERHEAD_BYTES
    if (openBytes > 0 && openBytes + bytes > maxBytesInFlight) {
      throw retryable('overloaded', `${openBytes} bytes wait for ${topic}`)
    }
    const submission = { since: clock.monotonic(), bytes }
    open.add(submission)
    openBytes += bytes
    const headers = headersOf(by)
    const sent = items.map(async (item) => (item.ok ? await send(item, headers) : null))
    const settled = Promise.allSettled(sent).then(() => {
      open.delete(submission)
      openBytes -= bytes
    })
    const enough = new AbortController()
    const late = clock.sleep(publishWithinMs, enough.signal).then(() => 'late' as const)
    try {
      if ((await Promise.race([settled, late])) === 'late') {
        throw retryable('kafka_unavailable', `${topic} did not acknowledge within ${publishWithinMs} ms`)
      }
    } finally {
      enough.abort('settled')
    }
    try {
      return await Promise.all(sent)
    } catch (error) {
      if (fateOf(error) !== 'retry') throw error
      throw retryable('kafka_unavailable', `${topic} did not acknowledge`, error)
    }
  }

  function accepted(item: ReadItem, outcome: Outcome | null): Accepted {
    if (!item.ok) return item
    if (outcome === null) throw new Error('an item that can be read has no outcome')
    if (!outcome.ok) {
      const { code, message } = outcome.error
      return { ok: false, problem: { code, pointer: '', detail: message } }
    }
    const { partition, offset, appendedAt } = outcome.appended
    const requestId =
      pipeline === null || appendedAt < 0 ? null : formatRequestId(pipeline, appendedAt, partition, offset)
    return { ok: true, requestId, id: item.id, repeated: false }
  }

  async function submit(
    items: readonly ReadItem[],
    by: Submitter,
    before?: () => Promise<void>,
  ): Promise<readonly Accepted[]> {
    const { tenant, idempotencyKey: key } = by
    const body = key === null ? null : bodyDigest(items)
    if (key !== null && body !== null) {
      const known = await finished.find(tenant, key, body)
      if (known === 'other')
        throw rejected('idempotency_key_reused', 'the idempotency key came with another body before')
      if (known !== null) {
        return items.map((item, index) =>
          item.ok ? { ok: true, requestId: known[index] ?? null, id: item.id, repeated: true } : item,
        )
      }
    }
    if (before !== undefined) await before()
    const outcomes = await publish(items, by)
    const results = items.map((item, index) => accepted(item, outcomes[index] ?? null))
    const isComplete = results.every((result, index) => result.ok || items[index]?.ok === false)
    if (key !== null && body !== null && isComplete) {
      const requestIds = results.map((result) => (result.ok ? result.requestId : null))
      await finished.remember(tenant, key, body, requestIds)
    }
    return results
  }

  return {
    value: {
      submit,
      backlog() {
        const [oldest] = open
        return { bytes: openBytes, oldestMs: oldest === undefined ? 0 : clock.monotonic() - oldest.since }
      },
      ended: failed.promise,
    },
    stop: () => producer.stop(),
  }
}
