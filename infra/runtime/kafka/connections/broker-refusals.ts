import { fatal, type MillraceError, retryable } from '../../errors.ts'
import type { BrokerError } from '../protocol/error-codes.ts'

/** Answers that another try does not change: rights, settings, or a request that the broker does not take. */
const REFUSED: ReadonlySet<BrokerError> = new Set<BrokerError>([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_GROUP_ID',
  'INVALID_REQUEST',
  'UNSUPPORTED_VERSION',
  'UNSUPPORTED_SASL_MECHANISM',
  'ILLEGAL_SASL_STATE',
  'SASL_AUTHENTICATION_FAILED',
])

/**
 * The fate of an error code that its caller does not handle otherwise: `kafka_refused` (crash) when another try cannot
 * help, else `kafka_unavailable` (retry).
 */
export function brokerRefusal(error: BrokerError, what: string): MillraceError {
  return REFUSED.has(error)
    ? fatal('kafka_refused', `${what}: ${error}`)
    : retryable('kafka_unavailable', `${what}: ${error}`)
}
