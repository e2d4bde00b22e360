import kafkajs from 'kafkajs'
import { fatal, MillraceError, retryable } from '../errors.ts'

const { KafkaJSError } = kafkajs

/** Broker answers that another try does not change. */
const REFUSED = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'ILLEGAL_SASL_STATE',
  'UNSUPPORTED_VERSION',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_CONFIG',
  'INVALID_PARTITIONS',
  'INVALID_REPLICATION_FACTOR',
  'POLICY_VIOLATION',
])

/** The fate of whatever kafkajs throws: refusals crash; an unreachable or busy broker is tried again. */
export function kafkaError(error: unknown, what: string): MillraceError {
  if (error instanceof MillraceError) return error
  const type = brokerErrorType(error)
  const message = `${what}: ${(error as Error).message}`
  if (type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE') {
    return new MillraceError('reject', 'record_too_large', message, { cause: error })
  }
  if (type !== null && REFUSED.has(type)) return fatal('kafka_refused', `${message} (${type})`, error)
  if (error instanceof KafkaJSError && error.name === 'KafkaJSSASLAuthenticationError') {
    return fatal('kafka_refused', message, error)
  }
  if (error instanceof KafkaJSError) return retryable('kafka_unavailable', message, error)
  return fatal('kafka_client_failed', message, error)
}

function brokerErrorType(error: unknown): string | null {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ('type' in at && typeof at.type === 'string') return at.type
  }
  return null
}
