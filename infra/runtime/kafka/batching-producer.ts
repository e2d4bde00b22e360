import { type Backoff, backoffMs } from '../backoff.ts'
import type { Clock } from '../clock.ts'
import { fatal, fateOf, MillraceError, retryable } from '../errors.ts'
import type { Started } from '../lifecycle/scope.ts'
import { type BatchLimits, type BatchPolicy, createBatchPolicy } from './batch-policy.ts'
import { partitionOfKey } from './partitioner.ts'
import type { OutgoingRecord, RecordWriter } from './record-writer.ts'

/** Where a record went. */
export interface Appended {
  readonly partition: number
  readonly offset: number
  /** Append time, epoch ms; -1 on topics without LogAppendTime. */
  readonly appendedAt: number
}

export interface RoutedRecord extends OutgoingRecord {
  /** Instead of the key's. */
  readonly partition?: number
}

/**
 * Sends single records to one topic in batches, one batch at a time per partition, so that records of a partition
 * stay in the order of their `send`. Calls may overlap. A batch whose outcome is unknown is written again, until it is
 * acknowledged or the producer is stopped: a record may then be in the log twice, never not at all.
 */
export interface BatchingProducer {
  /**
   * Resolves once all in-sync replicas have the record. `make` is called when there is room for it, in the order of the
   * calls. Rejects with what `make` throws, with `record_too_large` (reject) for a record that the topic does not take,
   * `not_acknowledged` (retry) when the producer was stopped before an answer came, `producer_stopped` (crash) after
   * that; after any other crash every further call rejects with it.
   */
  send(make: () => RoutedRecord): Promise<Appended>
  /** Null when the next `send` goes ahead at once, else resolves when there is room. Keeps memory bounded. */
  room(): Promise<void> | null
  /** Resolves when every record sent before the call has been acknowledged or has failed. */
  flush(): Promise<void>
}

export interface BatchingProducerOptions {
  readonly topic: string
  readonly partitions: number
  readonly writer: RecordWriter
  readonly limits: BatchLimits
  /** Keys, values and headers not acknowledged yet; one record may exceed it. */
  readonly maxBytesInFlight: number
  readonly retry: Backoff
  /** How long `stop` waits for acknowledgements, ms. */
  readonly stopWithinMs: number
  readonly clock: Clock
  /** Called before each new try of a batch. Must not throw. */
  readonly onRetry?: (attempt: {
    readonly partition: number
    readonly attempt: number
    readonly error: unknown
  }) => void
}

interface Entry {
  readonly record: OutgoingRecord
  readonly bytes: number
  readonly ticket: Ticket
}

interface Ticket {
  readonly epoch: number
  resolve(appended: Appended): void
  reject(error: unknown): void
}

interface Lane {
  readonly partition: number
  readonly policy: BatchPolicy<Entry>
  busy: boolean
  timer: NodeJS.Timeout | null
}

/** A record's length prefixes and its share of bookkeeping, so that empty records count too. */
const RECORD_OVERHEAD_BYTES = 32

export function startBatchingProducer(options: BatchingProducerOptions): Started<BatchingProducer> {
  const { topic, writer, clock, retry, maxBytesInFlight } = options
  if (!(maxBytesInFlight >= 1)) throw fatal('invalid_config', 'the bytes in flight must be limited to 1 or more')
  const lanes = Array.from(
    { length: options.partitions },
    (_, partition): Lane => ({ partition, policy: createBatchPolicy(options.limits), busy: false, timer: null }),
  )
  /** Set once nothing more is accepted. */
  let closed: MillraceError | null = null
  /** Set once nothing more is tried. */
  let abandoned: MillraceError | null = null
  const abandoning = new AbortController()

  let bytesInFlight = 0
  const waiting: { readonly make: () => RoutedRecord; readonly ticket: Ticket }[] = []
  const waitingForRoom: (() => void)[] = []

  /** Records not settled yet by the flush that has to wait for them. */
  const open = new Map<number, number>()
  const flushes: { readonly epoch: number; resolve(): void }[] = []
  let epoch = 0
  /** Records without a key go here until a batch of this partition is taken. */
  let sticky = Math.floor(Math.random() * options.partitions)

  const hasRoom = (): boolean => bytesInFlight < maxBytesInFlight && waiting.length === 0

  function end(ticket: Ticket): void {
    const left = (open.get(ticket.epoch) ?? 0) - 1
    if (left > 0) open.set(ticket.epoch, left)
    else {
      open.delete(ticket.epoch)
      endFlushes()
    }
  }

  function endFlushes(): void {
    const oldest = Math.min(...open.keys())
    while (flushes[0] !== undefined && flushes[0].epoch < oldest) flushes.shift()?.resolve()
  }

  function failTicket(ticket: Ticket, error: unknown): void {
    ticket.reject(error)
    end(ticket)
  }

  function release(entry: Entry): void {
    bytesInFlight -= entry.bytes
    end(entry.ticket)
  }

  function fail(entries: readonly Entry[], error: unknown): void {
    for (const entry of entries) {
      entry.ticket.reject(error)
      release(entry)
    }
  }

  function admit(make: () => RoutedRecord, ticket: Ticket): void {
    let record: RoutedRecord
    try {
      record = make()
    } catch (error) {
      failTicket(ticket, error)
      return
    }
    const keyed = record.key === null ? sticky : partitionOfKey(record.key, lanes.length)
    const lane = lanes[record.partition ?? keyed] as Lane
    const bytes = sizeOf(record)
    bytesInFlight += bytes
    const now = ticket.epoch < epoch ? Number.NEGATIVE_INFINITY : clock.monotonic()
    lane.policy.add({ record, bytes, ticket }, bytes, now)
    if (!lane.busy) pump(lane)
  }

  function admitWaiting(): void {
    while (bytesInFlight < maxBytesInFlight) {
      const next = waiting.shift()
      if (next === undefined) break
      admit(next.make, next.ticket)
    }
    if (hasRoom()) for (const resolve of waitingForRoom.splice(0)) resolve()
  }

  /** Sends what is due in the lane, or comes back when it is. */
  function pump(lane: Lane): void {
    if (lane.busy) return
    const inMs = lane.policy.dueInMs(clock.monotonic())
    if (inMs !== null && inMs > 0) {
      lane.timer ??= setTimeout(() => {
        lane.timer = null
        pump(lane)
      }, Math.ceil(inMs))
      return
    }
    if (lane.timer !== null) clearTimeout(lane.timer)
    lane.timer = null
    if (inMs === null) return
    lane.busy = true
    if (lane.partition === sticky) sticky = (sticky + 1) % lanes.length
    void deliver(lane.partition, lane.policy.take()).then(() => {
      lane.busy = false
      admitWaiting()
      pump(lane)
    })
  }

  /** Never rejects: every entry is settled. */
  async function deliver(partition: number, entries: readonly Entry[]): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      if (abandoned !== null) return fail(entries, abandoned)
      try {
        const batch = { topic, partition, records: entries.map(({ record }) => record) }
        const [written] = await unlessAbandoned(writer.write([batch]))
        if (written === undefined) throw fatal('kafka_client_failed', `writing to ${topic}: no answer`)
        const { baseOffset, appendedAt } = written
        for (const [index, entry] of entries.entries()) {
          entry.ticket.resolve({ partition, offset: baseOffset + index, appendedAt })
          release(entry)
        }
        return
      } catch (error) {
        const fate = fateOf(error)
        if (fate === 'reject' && entries.length > 1) {
          const half = Math.ceil(entries.length / 2)
          await deliver(partition, entries.slice(0, half))
          return await deliver(partition, entries.slice(half))
        }
        if (fate === 'crash') abandon(asFatal(topic, error))
        if (fate !== 'retry') return fail(entries, error)
        options.onRetry?.({ partition, attempt, error })
        await clock.sleep(backoffMs(retry, attempt - 1), abandoning.signal)
      }
    }
  }

  /** The writer may still be trying when nobody waits for it any more. */
  async function unlessAbandoned<T>(work: Promise<T>): Promise<T> {
    const given = Promise.withResolvers<never>()
    const giveUp = (): void => given.reject(abandoned)
    abandoning.signal.addEventListener('abort', giveUp)
    try {
      return await Promise.race([work, given.promise])
    } finally {
      abandoning.signal.removeEventListener('abort', giveUp)
    }
  }

  /** Gives up what is not acknowledged. */
  function abandon(reason: MillraceError): void {
    abandoned ??= reason
    closed ??= reason
    abandoning.abort()
    for (const lane of lanes) fail(lane.policy.takeAll(), abandoned)
    for (const { ticket } of waiting.splice(0)) failTicket(ticket, abandoned)
    for (const resolve of waitingForRoom.splice(0)) resolve()
  }

  function flush(): Promise<void> {
    const flushed = new Promise<void>((resolve) => flushes.push({ epoch, resolve }))
    epoch++
    for (const lane of lanes) {
      lane.policy.hurry()
      pump(lane)
    }
    endFlushes()
    return flushed
  }

  return {
    value: {
      send(make) {
        if (closed !== null) return Promise.reject(closed)
        return new Promise((resolve, reject) => {
          const ticket = { epoch, resolve, reject }
          open.set(epoch, (open.get(epoch) ?? 0) + 1)
          if (hasRoom()) admit(make, ticket)
          else waiting.push({ make, ticket })
        })
      },
      room: () => (hasRoom() || closed !== null ? null : new Promise<void>((resolve) => waitingForRoom.push(resolve))),
      flush,
    },
    async stop() {
      closed ??= fatal('producer_stopped', `the producer of ${topic} has been stopped`)
      const flushed = flush()
      const deadline = setTimeout(() => {
        const seconds = options.stopWithinMs / 1_000
        abandon(retryable('not_acknowledged', `${topic} did not acknowledge within ${seconds} s of the stop`))
      }, options.stopWithinMs)
      await flushed
      clearTimeout(deadline)
    },
  }
}

function sizeOf({ key, value, headers }: OutgoingRecord): number {
  let bytes = RECORD_OVERHEAD_BYTES + (key?.length ?? 0) + value.length
  for (const name in headers) bytes += name.length + (headers[name]?.length ?? 0)
  return bytes
}

function asFatal(topic: string, error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return fatal('kafka_client_failed', `writing to ${topic}: ${(error as Error).message}`, error)
}
