import { backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { fatal, fateOf, MillraceError, retryable } from '../../errors.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import { type ProducedBatch, produceRequest } from '../protocol/produce.ts'
import type { Compression } from '../record-batches/codecs/compression.ts'
import type { RecordColumns } from '../record-batches/columns.ts'
import { encodeBatch } from '../record-batches/encode-batch.ts'
import { judge } from './produce-answers.ts'
import type { AppendedBatch, PartitionOptions, SequencedPartition } from './sequenced-partition.ts'
import { createSequencer, type Sequencer, type Slot } from './sequencer.ts'

/** Merges what is written in the same turn of the event loop into one request per leader. */
export interface BatchSender {
  open(options: PartitionOptions): SequencedPartition
  /** Null when less than `maxBytesInFlight` is not acknowledged, else resolves when it is. Encoded bytes, of all partitions. */
  room(): Promise<void> | null
  /** Ends every partition with `producer_stopped` (retry). */
  close(): void
}

export interface BatchSenderOptions {
  readonly connections: KafkaConnections
  readonly clock: Clock
  readonly compression: Compression
  /** How long a batch waits for others to share its request with, ms; 0 = until the end of the event loop's turn. */
  readonly lingerMs: number
  /** How long the leader waits for its followers, ms. */
  readonly requestTimeoutMs: number
  /** How long a batch is sent again, ms. */
  readonly deliveryTimeoutMs: number
  readonly maxBytesInFlight: number
  /** Told before a batch is sent again. Must not throw. */
  readonly onRetry?: (retry: {
    readonly topic: string
    readonly partition: number
    readonly attempt: number
    readonly reason: string
  }) => void
}

interface Batch {
  readonly bytes: Buffer
  readonly deadline: number
  appended: AppendedBatch | null
  resolve(appended: AppendedBatch): void
  reject(error: MillraceError): void
}

interface Lane extends PartitionOptions {
  readonly sequencer: Sequencer<Batch>
  ended: MillraceError | null
  /** Tries in a row without an acknowledgement. */
  attempt: number
  /** Until it has backed off. */
  waiting: boolean
  logEnd: number
  bytesInFlight: number
}

interface Sending {
  readonly lane: Lane
  readonly slot: Slot<Batch>
}

const RETRY = { baseMs: 20, maxMs: 1_000 }
/** Well below what brokers read at once (`socket.request.max.bytes`, 100 MiB). */
const MAX_REQUEST_BYTES = 16_777_216

export function createBatchSender(options: BatchSenderOptions): BatchSender {
  const { connections, clock, lingerMs, maxBytesInFlight } = options
  const lanes = new Set<Lane>()
  const ready = new Set<Lane>()
  const closing = new AbortController()
  const waitingForRoom: (() => void)[] = []
  let bytesInFlight = 0
  let scheduled = false

  function schedule(lane: Lane): void {
    ready.add(lane)
    if (scheduled) return
    scheduled = true
    if (lingerMs > 0) setTimeout(flush, lingerMs)
    else setImmediate(flush)
  }

  /** One batch of each ready partition makes a round, as a request holds one batch of a partition. */
  function flush(): void {
    scheduled = false
    while (ready.size > 0) {
      const round = new Map<number, Sending[]>()
      for (const lane of ready) {
        const sending = nextOf(lane)
        if (sending === null) {
          ready.delete(lane)
          continue
        }
        const [node, slot] = sending
        const request = round.get(node)
        if (request === undefined) round.set(node, [{ lane, slot }])
        else request.push({ lane, slot })
      }
      for (const [node, request] of round) for (const part of partsBySize(request)) void send(node, part)
    }
  }

  function nextOf(lane: Lane): readonly [node: number, slot: Slot<Batch>] | null {
    if (lane.waiting || lane.ended !== null || lane.sequencer.length === 0) return null
    if (!lane.trusted()) {
      end(lane, retryable('lane_lost', `${nameOf(lane)}: the membership is not confirmed, nothing is sent`))
      return null
    }
    const node = connections.leaderOf(lane.topic, lane.partition)
    if (node === null) {
      tryAgain(lane, 'no leader', true)
      return null
    }
    const slot = lane.sequencer.take()
    return slot === null ? null : [node, slot]
  }

  async function send(node: number, request: readonly Sending[]): Promise<void> {
    const batches = request.map(({ lane: { topic, partition }, slot }) => ({
      topic,
      partition,
      batch: slot.item.bytes,
    }))
    let answers: readonly ProducedBatch[]
    try {
      answers = await connections.send(node, 'produce', produceRequest(batches, options.requestTimeoutMs))
    } catch (error) {
      for (const { lane, slot } of request) {
        if (fateOf(error) !== 'retry') end(lane, asMillraceError(error))
        else if (lane.ended === null) settle(lane, slot, 'again', (error as Error).message, true)
      }
      return
    }
    const byPartition = new Map(answers.map((answer) => [`${answer.topic}/${answer.partition}`, answer]))
    for (const { lane, slot } of request) {
      if (lane.ended !== null) continue
      const answer = byPartition.get(nameOf(lane))
      if (answer === undefined) settle(lane, slot, 'again', 'not in the answer', true)
      else onAnswer(lane, slot, answer)
    }
  }

  function onAnswer(lane: Lane, slot: Slot<Batch>, produced: ProducedBatch): void {
    const verdict = judge(produced)
    if (verdict.kind === 'ended') {
      end(lane, verdict.error)
      return
    }
    if (verdict.kind === 'refused') {
      slot.item.reject(verdict.error)
      if (lane.sequencer.withdraw(slot)) release(lane, slot.item)
      else end(lane, retryable('outcome_unknown', `${nameOf(lane)}: a batch was refused with others behind it`))
      return
    }
    if (verdict.answer === 'acknowledged') {
      const { baseOffset, appendedAt } = produced
      slot.item.appended = { baseOffset, appendedAt }
    }
    settle(lane, slot, verdict.answer, produced.error ?? '', verdict.moved)
  }

  function settle(
    lane: Lane,
    slot: Slot<Batch>,
    answer: 'acknowledged' | 'again' | 'out_of_sequence',
    reason: string,
    moved: boolean,
  ): void {
    const resolved = lane.sequencer.settle(slot, answer)
    if (resolved === null) {
      end(lane, retryable('outcome_unknown', `${nameOf(lane)}: sequence ${slot.sequence} was refused: ${reason}`))
      return
    }
    if (answer !== 'acknowledged') {
      tryAgain(lane, reason, moved)
      return
    }
    lane.attempt = 0
    for (const { item, records } of resolved) {
      const { baseOffset } = item.appended as AppendedBatch
      if (baseOffset >= 0 && baseOffset < lane.logEnd) end(lane, movedBack(lane, baseOffset))
      if (baseOffset >= 0) lane.logEnd = baseOffset + records
      release(lane, item)
      if (lane.ended === null) item.resolve(item.appended as AppendedBatch)
      else item.reject(lane.ended)
    }
    if (lane.sequencer.length > 0) schedule(lane)
  }

  function tryAgain(lane: Lane, reason: string, moved: boolean): void {
    if (lane.waiting || lane.ended !== null) return
    lane.waiting = true
    lane.attempt++
    void backOff(lane, reason, moved)
  }

  /** Waits, looks for the leader, and makes the partition ready again. Never rejects. */
  async function backOff(lane: Lane, reason: string, moved: boolean): Promise<void> {
    const { topic, partition, attempt } = lane
    options.onRetry?.({ topic, partition, attempt, reason })
    await clock.sleep(backoffMs(RETRY, attempt - 1), closing.signal)
    let leaderless = false
    if (moved) {
      try {
        const found = (await connections.topics([topic])).get(topic)
        if (found !== undefined && lane.generation !== null && found.id !== lane.generation) {
          return end(lane, fatal('topic_recreated', `${topic} was deleted and made again while it was written`))
        }
        leaderless = (found?.partitions[partition]?.leader ?? -1) < 0
      } catch (error) {
        if (fateOf(error) !== 'retry') return end(lane, asMillraceError(error))
        leaderless = true
      }
    }
    lane.waiting = false
    const oldest = lane.sequencer.oldest()
    if (oldest !== null && clock.monotonic() >= oldest.deadline) {
      return end(lane, retryable('outcome_unknown', `${nameOf(lane)} did not acknowledge in time: ${reason}`))
    }
    if (leaderless) return tryAgain(lane, reason, true)
    schedule(lane)
  }

  function end(lane: Lane, error: MillraceError): void {
    if (lane.ended !== null) return
    lane.ended = error
    lanes.delete(lane)
    ready.delete(lane)
    for (const { item } of lane.sequencer.drain()) {
      release(lane, item)
      item.reject(error)
    }
  }

  function release(lane: Lane, batch: Batch): void {
    lane.bytesInFlight -= batch.bytes.length
    bytesInFlight -= batch.bytes.length
    if (bytesInFlight < maxBytesInFlight) for (const resolve of waitingForRoom.splice(0)) resolve()
  }

  function append(lane: Lane, records: RecordColumns): Promise<AppendedBatch> {
    if (lane.ended !== null) return Promise.reject(lane.ended)
    return new Promise((resolve, reject) => {
      lane.sequencer.add(records.length, (sequence) => {
        const producer = { ...lane.producer, sequence }
        const bytes = encodeBatch(records, { producer, compression: options.compression })
        lane.bytesInFlight += bytes.length
        bytesInFlight += bytes.length
        const deadline = clock.monotonic() + options.deliveryTimeoutMs
        return { bytes, deadline, appended: null, resolve, reject }
      })
      schedule(lane)
    })
  }

  return {
    open(partition) {
      const sequencer = createSequencer<Batch>(partition.firstSequence)
      const lane: Lane = { ...partition, sequencer, ended: null, attempt: 0, waiting: false, bytesInFlight: 0 }
      lanes.add(lane)
      return {
        append: (records) => append(lane, records),
        alone: () => sequencer.alone(),
        end: (error) => end(lane, error),
        get ended() {
          return lane.ended !== null
        },
        get bytesInFlight() {
          return lane.bytesInFlight
        },
      }
    },
    room: () =>
      bytesInFlight < maxBytesInFlight ? null : new Promise<void>((resolve) => waitingForRoom.push(resolve)),
    close() {
      for (const lane of lanes) end(lane, retryable('producer_stopped', `${nameOf(lane)}: the producer was stopped`))
      closing.abort()
    },
  }
}

function* partsBySize(request: readonly Sending[]): Iterable<readonly Sending[]> {
  let part: Sending[] = []
  let bytes = 0
  for (const sending of request) {
    const size = sending.slot.item.bytes.length
    if (part.length > 0 && bytes + size > MAX_REQUEST_BYTES) {
      yield part
      part = []
      bytes = 0
    }
    part.push(sending)
    bytes += size
  }
  yield part
}

function movedBack(lane: Lane, offset: number): MillraceError {
  return fatal(
    'output_truncated',
    `${nameOf(lane)} took records at ${offset}, though it ended at ${lane.logEnd} before`,
  )
}

function nameOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic}/${partition}`
}

function asMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error
  return fatal('kafka_client_failed', (error as Error).message, error)
}
