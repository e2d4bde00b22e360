import { readFile } from 'node:fs/promises'
import { fatal, MillraceError, retryable } from '../../errors.ts'

/** Where the bearer token for OAUTHBEARER comes from. */
export type OAuthConfig =
  | {
      /** Read again at every authentication: another program keeps the token in it fresh. */
      readonly tokenFile: string
    }
  | {
      /** Token endpoint for the client credentials grant (RFC 6749, 4.4). */
      readonly tokenUrl: string
      readonly clientId: string
      readonly clientSecret: string
      readonly scope?: string | undefined
    }

const TIMEOUT_MS = 10_000
/** What the endpoint answers when the credentials are wrong, by RFC 6749. */
const REFUSED = new Set([400, 401, 403])

/** A token for one authentication. Rejects with `kafka_refused` (crash), or `kafka_unavailable` (retry) when the endpoint is down. */
export function oauthToken(config: OAuthConfig): Promise<string> {
  return 'tokenFile' in config ? tokenFrom(config.tokenFile) : requestToken(config)
}

async function tokenFrom(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim()
  } catch (error) {
    throw fatal('kafka_refused', `the OAuth token file: ${(error as Error).message}`, error)
  }
}

async function requestToken(config: Exclude<OAuthConfig, { tokenFile: string }>): Promise<string> {
  const { tokenUrl, clientId, clientSecret, scope } = config
  const credentials = [clientId, clientSecret].map(encodeURIComponent).join(':')
  try {
    const answer = await fetch(tokenUrl, {
      method: 'POST',
      headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', ...(scope === undefined ? {} : { scope }) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (REFUSED.has(answer.status)) throw fatal('kafka_refused', `the OAuth token endpoint answers ${answer.status}`)
    if (!answer.ok) throw retryable('kafka_unavailable', `the OAuth token endpoint answers ${answer.status}`)
    const { access_token: token } = (await answer.json()) as { readonly access_token?: unknown }
    if (typeof token !== 'string') throw retryable('kafka_unavailable', 'the OAuth token endpoint gives no token')
    return token
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw retryable('kafka_unavailable', `the OAuth token endpoint: ${(error as Error).message}`, error)
  }
}
