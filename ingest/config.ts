import { type Compiled, integerVariable, type STAGE, textVariable } from '../infra/runtime/config.ts'
import { fatal } from '../infra/runtime/errors.ts'
import { ACCESS } from './access/config.ts'

const port = (name: string, about: string, fallback: number) =>
  integerVariable(name, `${about}; 0 = any free one`, fallback, { min: 0, max: 65_535 })

export const INGEST = {
  gatewayPort: port('MILLRACE_GATEWAY_PORT', 'Port of the HTTP interface', 8_080),
  gatewayHost: textVariable('MILLRACE_GATEWAY_HOST', 'Address that the HTTP interface listens on', '127.0.0.1'),
  adminPort: port('MILLRACE_ADMIN_PORT', 'Port of /v1/admin', 8_090),
  adminHost: textVariable('MILLRACE_ADMIN_HOST', 'Address that /v1/admin listens on', '127.0.0.1'),
  checkIntervalMs: integerVariable(
    'MILLRACE_INGEST_CHECK_MS',
    'How often the events topic and the registry are asked whether they answer, ms',
    5_000,
    { min: 100, max: 300_000 },
  ),
  publishMs: integerVariable(
    'MILLRACE_GATEWAY_PUBLISH_MS',
    'Time within which Kafka must have acknowledged what a request brings; past it the answer is 503, ms',
    5_000,
    { min: 100, max: 60_000 },
  ),
  lingerMs: integerVariable(
    'MILLRACE_GATEWAY_LINGER_MS',
    'How long an event waits for others to share its batch with, ms',
    1,
    { min: 0, max: 1_000 },
  ),
  maxBytesInFlight: integerVariable(
    'MILLRACE_GATEWAY_MAX_BYTES_IN_FLIGHT',
    'Events that Kafka has not acknowledged; with more, requests are answered 503',
    33_554_432,
    { min: 65_536, max: 1_073_741_824 },
  ),
  predictWaitMs: integerVariable(
    'MILLRACE_GATEWAY_PREDICT_WAIT_MS',
    'How long a request waits for its prediction when it does not say, ms',
    2_000,
    { min: 0, max: 30_000 },
  ),
  drainMs: integerVariable(
    'MILLRACE_GATEWAY_DRAIN_MS',
    'How long requests are served after SIGTERM, so that load balancers notice that it is not ready, ms',
    5_000,
    { min: 0, max: 300_000 },
  ),
  maxBodyBytes: integerVariable('MILLRACE_GATEWAY_MAX_BODY_BYTES', 'Largest request body, decoded', 8_388_608, {
    min: 1_024,
    max: 104_857_600,
  }),
  maxHeldBytes: integerVariable(
    'MILLRACE_GATEWAY_MAX_HELD_BYTES',
    'Bodies of all requests that run; with more, requests are turned away',
    134_217_728,
    { min: 1_048_576, max: 17_179_869_184 },
  ),
  maxHeaderBytes: integerVariable('MILLRACE_GATEWAY_MAX_HEADER_BYTES', 'All headers of a request', 16_384, {
    min: 2_048,
    max: 1_048_576,
  }),
  headersTimeoutMs: integerVariable(
    'MILLRACE_GATEWAY_HEADERS_TIMEOUT_MS',
    'Time within which the headers of a request must have come, ms',
    5_000,
    { min: 100, max: 60_000 },
  ),
  requestTimeoutMs: integerVariable(
    'MILLRACE_GATEWAY_REQUEST_TIMEOUT_MS',
    'Time within which a request must have come as a whole, ms',
    10_000,
    { min: 100, max: 300_000 },
  ),
  maxConnections: integerVariable('MILLRACE_GATEWAY_MAX_CONNECTIONS', 'Connections at one time', 10_000, {
    min: 1,
    max: 1_000_000,
  }),
  replicas: integerVariable(
    'MILLRACE_GATEWAY_REPLICAS',
    'Gateways that share the limits: each grants its part of them while Redis is away',
    1,
    { min: 1, max: 1_000 },
  ),
  redisMs: integerVariable(
    'MILLRACE_GATEWAY_REDIS_MS',
    'What a request waits for Redis at most, ms; after that it goes on without',
    20,
    { min: 1, max: 10_000 },
  ),
  usageIntervalMs: integerVariable(
    'MILLRACE_GATEWAY_USAGE_MS',
    'How often what was asked of the gateway is written down for analytics, ms',
    5_000,
    { min: 100, max: 300_000 },
  ),
  ...ACCESS,
} as const

/** Throws when the settings contradict each other. */
export function checkTimes(
  own: Compiled<typeof INGEST>,
  { shutdownMs }: Pick<Compiled<typeof STAGE>, 'shutdownMs'>,
): void {
  if (own.drainMs < shutdownMs) return
  throw fatal(
    'invalid_config',
    `${INGEST.drainMs.name} (${own.drainMs}) must be less than MILLRACE_SHUTDOWN_MS (${shutdownMs}): the process would end before it has drained`,
  )
}
