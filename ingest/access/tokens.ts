import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import type { Clock } from '../../infra/runtime/clock.ts'
import { fateOf } from '../../infra/runtime/errors.ts'
import type { Scope } from '../../schemas/control/access.ts'
import { isScope } from './entries.ts'
import { createKeySets, type KeySet } from './key-sets.ts'

/** Signatures with a public key only: none that a holder of the public key could make. */
export const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'] as const

/** Whose tokens count, and how they are read. Nothing of it comes from a token. */
export interface JwtSettings {
  /** `iss`, exactly. */
  readonly issuer: string
  /** One of `aud`. */
  readonly audience: string
  readonly algorithms: readonly (typeof ALGORITHMS)[number][]
  readonly jwksUrl: string
  /** Claim that names the tenant. */
  readonly tenantClaim: string
  /** Of `scope` (or `scp`) those that begin so count, without the prefix; others are somebody else's. */
  readonly scopePrefix: string
}

export type TokenVerdict =
  | {
      readonly ok: true
      readonly subject: string
      /** Null when the token does not name one. */
      readonly tenant: string | null
      readonly scopes: ReadonlySet<Scope>
    }
  | { readonly ok: false; readonly why: 'invalid' }
  /** The issuer's keys are not to be had, so nothing is known about the token. */
  | { readonly ok: false; readonly why: 'unavailable'; readonly error: unknown }

export interface Tokens {
  /** Rejects only with what nobody understands. */
  read(token: string): Promise<TokenVerdict>
}

const CLOCK_TOLERANCE_SECONDS = 5
const LONGEST_SUBJECT = 256

export function createTokens(settings: JwtSettings, clock: Clock): Tokens {
  const { issuer, audience, algorithms, jwksUrl, tenantClaim, scopePrefix } = settings
  const sets = createKeySets({ url: jwksUrl, clock })
  const resolvers = new WeakMap<KeySet, ReturnType<typeof createLocalJWKSet>>()

  /** The key named by `kid`, from the configured URL: `jwk`, `jku`, `x5u` and `x5c` of the token's header mean nothing. */
  const keyFor: JWTVerifyGetKey = async ({ alg, kid }) => {
    if (typeof kid !== 'string' || kid === '') throw new errors.JWKSNoMatchingKey()
    const set = await sets.having(kid)
    const resolver = resolvers.get(set) ?? createLocalJWKSet(set.json as unknown as JSONWebKeySet)
    resolvers.set(set, resolver)
    return await resolver({ alg, kid })
  }

  function scopesIn({ scope, scp }: JWTPayload): ReadonlySet<Scope> {
    const granted = new Set<Scope>()
    for (const claim of [scope, scp].flat()) {
      if (typeof claim !== 'string') continue
      for (const name of claim.split(' ')) {
        const ours = name.startsWith(scopePrefix) ? name.slice(scopePrefix.length) : ''
        if (isScope(ours)) granted.add(ours)
      }
    }
    return granted
  }

  return {
    async read(token) {
      try {
        const { payload } = await jwtVerify(token, keyFor, {
          issuer,
          audience,
          algorithms: [...algorithms],
          clockTolerance: CLOCK_TOLERANCE_SECONDS,
          currentDate: new Date(clock.now()),
          requiredClaims: ['exp', 'sub'],
        })
        const { sub, [tenantClaim]: tenant } = payload
        // the library does not look at its type
        if (typeof sub !== 'string' || sub === '' || sub.length > LONGEST_SUBJECT) return { ok: false, why: 'invalid' }
        return {
          ok: true,
          subject: sub,
          tenant: typeof tenant === 'string' ? tenant : null,
          scopes: scopesIn(payload),
        }
      } catch (error) {
        if (error instanceof errors.JOSEError) return { ok: false, why: 'invalid' }
        if (fateOf(error) === 'retry') return { ok: false, why: 'unavailable', error }
        throw error
      }
    },
  }
}
