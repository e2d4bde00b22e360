import { createRequire } from 'node:module'
import { fatal, MillraceError } from '../../errors.ts'
import { type OAuthConfig, oauthToken } from './oauth-token.ts'
import type { WireConnection } from './wire-connection.ts'

export type SaslConfig =
  | {
      readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
      readonly username: string
      readonly password: string
    }
  | ({ readonly mechanism: 'oauthbearer' } & OAuthConfig)

/** A request as kafkajs describes it. */
interface NativeRequest {
  readonly request: {
    readonly apiKey: number
    readonly apiVersion: number
    readonly apiName: string
    encode(): Promise<{ readonly buffer: Buffer }>
  }
  readonly response: { decode(payload: Buffer): Promise<unknown>; parse(decoded: unknown): Promise<unknown> }
}

interface NativeAuthenticator {
  /** Milliseconds as text; 0 = for ever. */
  readonly sessionLifetime: string
  authenticate(): Promise<void>
}

const SASL_HANDSHAKE = 17
const SASL_AUTHENTICATE = 36
/** Both exist since Kafka 2.2, below what any of our other requests needs. */
const VERSIONS = {
  [SASL_HANDSHAKE]: { minVersion: 0, maxVersion: 1 },
  [SASL_AUTHENTICATE]: { minVersion: 0, maxVersion: 1 },
}
const LENGTH_BYTES = 4

const silent = (): void => {}
const logger = { debug: silent, info: silent, warn: silent, error: silent, namespace: () => logger }

/**
 * Lets kafkajs do the exchange of the mechanism over our connection. Gives the time after which the broker wants to see
 * credentials again, ms; null = never. Rejects with `kafka_refused` (crash), or what broke the connection.
 */
export async function authenticate(connection: WireConnection, sasl: SaslConfig): Promise<number | null> {
  let broken: MillraceError | null = null
  const mechanism = sasl.mechanism.toUpperCase()
  try {
    const native = new (saslAuthenticator())(
      {
        sasl: { ...nativeSasl(sasl), mechanism },
        host: connection.broker,
        async send({ request, response }: NativeRequest) {
          const { apiKey, apiVersion, apiName: name } = request
          const body = (await request.encode()).buffer
          const sent = connection.send({ apiKey, apiVersion, name, body, decode: (payload) => payload })
          sent.catch((error: MillraceError) => {
            broken = error
          })
          const answer = await response.parse(await response.decode(await sent))
          if (mechanism === 'OAUTHBEARER' && apiKey === SASL_AUTHENTICATE) refuseChallenge(answer)
          return answer
        },
      },
      logger,
      VERSIONS,
      true,
    )
    await native.authenticate()
    const lifetimeMs = Number(native.sessionLifetime)
    return lifetimeMs > 0 ? lifetimeMs : null
  } catch (error) {
    if (broken !== null) throw broken
    if (error instanceof MillraceError) throw error
    throw fatal('kafka_refused', `${connection.broker}: ${(error as Error).message}`, error)
  }
}

/** RFC 7628: a token that is refused is answered with a challenge that says why; kafkajs takes it for a success. */
function refuseChallenge(answer: unknown): void {
  const { authBytes } = answer as { readonly authBytes: Buffer }
  if (authBytes.length > LENGTH_BYTES) throw new Error(`the token is refused: ${authBytes.subarray(LENGTH_BYTES)}`)
}

/** In the form that kafkajs takes. */
export function nativeSasl(sasl: SaslConfig) {
  if (sasl.mechanism !== 'oauthbearer') return { ...sasl }
  return { mechanism: sasl.mechanism, oauthBearerProvider: async () => ({ value: await oauthToken(sasl) }) }
}

function saslAuthenticator() {
  return createRequire(import.meta.url)('kafkajs/src/broker/saslAuthenticator') as new (
    connection: object,
    logger: object,
    versions: object,
    supportsAuthenticate: boolean,
  ) => NativeAuthenticator
}
