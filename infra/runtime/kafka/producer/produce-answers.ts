import { fatal, MillraceError, rejected, retryable } from '../../errors.ts'
import type { BrokerError } from '../protocol/error-codes.ts'
import type { ProducedBatch } from '../protocol/produce.ts'
import type { Answer } from './sequencer.ts'

/** Refused for good; which records, by their index in the batch, where the broker says so. */
export class RecordsRefusedError extends MillraceError {
  readonly records: ReadonlyMap<number, string>

  constructor(message: string, records: ReadonlyMap<number, string>) {
    super('reject', 'invalid_record', message)
    this.name = 'RecordsRefusedError'
    this.records = records
  }
}

/** Another writer has claimed what this one wrote to. */
const FENCED: ReadonlySet<BrokerError> = new Set([
  'INVALID_PRODUCER_EPOCH',
  'PRODUCER_FENCED',
  'INVALID_PRODUCER_ID_MAPPING',
])

/** Somebody else leads the partition, or nobody does, or the topic is not known there (yet, or any more). */
const MOVED: ReadonlySet<BrokerError> = new Set([
  'NOT_LEADER_OR_FOLLOWER',
  'LEADER_NOT_AVAILABLE',
  'UNKNOWN_TOPIC_OR_PARTITION',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'REPLICA_NOT_AVAILABLE',
  'BROKER_NOT_AVAILABLE',
  'KAFKA_STORAGE_ERROR',
  'NETWORK_EXCEPTION',
])

/** Nothing to look up: the same leader may take it a little later, or has it without being able to say so. */
const BUSY: ReadonlySet<BrokerError> = new Set([
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'REQUEST_TIMED_OUT',
  'CORRUPT_MESSAGE',
  'UNKNOWN_SERVER_ERROR',
  'CONCURRENT_TRANSACTIONS',
  'COORDINATOR_LOAD_IN_PROGRESS',
])

export type Verdict =
  | { readonly kind: 'answer'; readonly answer: Answer; readonly moved: boolean }
  /** Not in the log; the order behind it stands if nothing is behind it. */
  | { readonly kind: 'refused'; readonly error: MillraceError }
  | { readonly kind: 'ended'; readonly error: MillraceError }

/** The one place that decides what an answer to Produce means. */
export function judge(produced: ProducedBatch): Verdict {
  const { error, topic, partition } = produced
  const what = `${topic}/${partition}: ${produced.message ?? error}`
  switch (error) {
    case null:
    case 'DUPLICATE_SEQUENCE_NUMBER':
      return { kind: 'answer', answer: 'acknowledged', moved: false }
    case 'OUT_OF_ORDER_SEQUENCE_NUMBER':
    case 'UNKNOWN_PRODUCER_ID':
      return { kind: 'answer', answer: 'out_of_sequence', moved: false }
    case 'MESSAGE_TOO_LARGE':
    case 'RECORD_LIST_TOO_LARGE':
      return { kind: 'refused', error: rejected('record_too_large', what) }
    case 'INVALID_RECORD':
    case 'INVALID_TIMESTAMP': {
      const records = produced.recordErrors.map(({ index, message }) => [index, message ?? error] as const)
      return { kind: 'refused', error: new RecordsRefusedError(what, new Map(records)) }
    }
    default:
      if (MOVED.has(error)) return { kind: 'answer', answer: 'again', moved: true }
      if (BUSY.has(error)) return { kind: 'answer', answer: 'again', moved: false }
      if (isFenced(error)) return { kind: 'ended', error: retryable('lane_fenced', `${what} (${error})`) }
      return { kind: 'ended', error: fatal('kafka_refused', `${what} (${error})`) }
  }
}

export function isFenced(error: BrokerError): boolean {
  return FENCED.has(error)
}
