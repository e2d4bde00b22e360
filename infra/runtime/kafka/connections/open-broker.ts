import { retryable } from '../../errors.ts'
import type { KafkaConfig } from '../kafka-client.ts'
import { apiVersionsRequest } from '../protocol/api-versions.ts'
import { authenticate } from './authenticate.ts'
import { openWireConnection, type WireConnection } from './wire-connection.ts'

export interface OpenBrokerOptions {
  readonly host: string
  readonly port: number
  readonly config: KafkaConfig
  readonly clientId: string
  readonly requestTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly signal: AbortSignal
}

/** Shown in the brokers' metrics. */
export const SOFTWARE = { name: 'millrace', version: '0.1.0' }

/** A broker that is stopped still accepts connections: for the exchange before the first request of a caller. */
const OPENING_MS = 10_000

/** Connects, names us and authenticates. Rejects with `kafka_unavailable` (retry) or `kafka_refused` (crash). */
export async function openBroker(
  options: OpenBrokerOptions,
): Promise<{ readonly connection: WireConnection; readonly sessionMs: number | null }> {
  const { config } = options
  const connection = await openWireConnection({ ...options, tls: config.tls })
  const giveUp = (): void => connection.close()
  const timer = setTimeout(() => {
    connection.close(
      retryable('kafka_unavailable', `${connection.broker}: it does not let us in within ${OPENING_MS} ms`),
    )
  }, OPENING_MS)
  options.signal.addEventListener('abort', giveUp)
  try {
    // whatever it answers: what we need is checked once, at start-up
    await connection.send(apiVersionsRequest(SOFTWARE))
    const sessionMs = config.sasl === undefined ? null : await authenticate(connection, config.sasl)
    return { connection, sessionMs }
  } catch (error) {
    connection.close()
    await connection.closed
    throw error
  } finally {
    clearTimeout(timer)
    options.signal.removeEventListener('abort', giveUp)
  }
}
