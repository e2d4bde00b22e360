import type { Clock } from '../../infra/runtime/clock.ts'
import { MillraceError, retryable } from '../../infra/runtime/errors.ts'

/** The issuer's public keys as they were fetched, JSON. */
export interface KeySet {
  readonly json: Readonly<Record<string, unknown>>
  readonly kids: ReadonlySet<string>
}

/** Fetches the issuer's keys from the one URL that was configured, and no more often than it must. */
export interface KeySets {
  /**
   * The newest set; it need not have `kid`. Fetched anew when it is old, or when `kid` is not in it. Rejects with
   * `issuer_unavailable` (retry) when no set is there, or none that is young enough, or the kid cannot be looked for.
   */
  having(kid: string): Promise<KeySet>
}

export interface KeySetOptions {
  readonly url: string
  readonly clock: Clock
}

const TIMEOUT_MS = 5_000
const MOST_BYTES = 262_144
/** A set is fetched again after so long, while it is used still. */
const OLD_MS = 600_000
/** Older than this it is not trusted: a key that the issuer took back is in it. */
const TOO_OLD_MS = 3_600_000
/** Between two fetches, whatever kids are asked for. */
const APART_MS = 30_000
/** The same after one that failed. */
const APART_FAILED_MS = 5_000

export function createKeySets({ url, clock }: KeySetOptions): KeySets {
  let set: KeySet | null = null
  /** Monotonic ms. */
  let fetchedAt = 0
  let triedAt = Number.NEGATIVE_INFINITY
  let failure: MillraceError | null = null
  let fetching: Promise<void> | null = null

  function fetchAgain(): void {
    const apart = failure === null ? APART_MS : APART_FAILED_MS
    if (fetching !== null || clock.monotonic() - triedAt < apart) return
    triedAt = clock.monotonic()
    fetching = fetchSet(url)
      .then(
        (fetched) => {
          set = fetched
          fetchedAt = clock.monotonic()
          failure = null
        },
        (error: MillraceError) => {
          failure = error
        },
      )
      .finally(() => {
        fetching = null
      })
  }

  function trusted(): KeySet | null {
    return clock.monotonic() - fetchedAt < TOO_OLD_MS ? set : null
  }

  return {
    async having(kid) {
      const known = trusted()
      if (known?.kids.has(kid)) {
        if (clock.monotonic() - fetchedAt >= OLD_MS) fetchAgain()
        return known
      }
      fetchAgain()
      await fetching
      const newest = trusted()
      if (newest?.kids.has(kid)) return newest
      if (newest === null || failure !== null) {
        throw failure ?? retryable('issuer_unavailable', `the keys at ${url} are too old`)
      }
      return newest
    },
  }
}

/** Rejects with `issuer_unavailable` (retry) whatever is wrong: the issuer mends it, and nobody gets in meanwhile. */
async function fetchSet(url: string): Promise<KeySet> {
  try {
    const answer = await fetch(url, {
      redirect: 'error',
      headers: { accept: 'application/jwk-set+json, application/json' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    if (!answer.ok) throw retryable('issuer_unavailable', `${url} answers ${answer.status}`)
    const json: unknown = JSON.parse(await boundedText(answer))
    const keys = (json as { readonly keys?: unknown } | null)?.keys
    if (!Array.isArray(keys)) throw retryable('issuer_unavailable', `${url} is no JSON Web Key Set`)
    const kids = keys.map((key: { readonly kid?: unknown } | null) => key?.kid)
    return { json: json as KeySet['json'], kids: new Set(kids.filter((kid) => typeof kid === 'string')) }
  } catch (error) {
    if (error instanceof MillraceError) throw error
    throw retryable('issuer_unavailable', `${url}: ${(error as Error).message}`, error)
  }
}

async function boundedText({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body ?? []) {
    length += chunk.length
    if (length > MOST_BYTES) throw retryable('issuer_unavailable', `the key set is larger than ${MOST_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
