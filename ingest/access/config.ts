import { z } from 'zod'
import { type Compiled, integerVariable, type Variable } from '../../infra/runtime/config.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { isEnvironment } from './key-text.ts'
import { ALGORITHMS, type JwtSettings } from './tokens.ts'

const text = (name: string, about: string, fallback: string): Variable<string> => ({
  ...{ name, about, fallback, optional: false },
  parse: z.string(),
})
const optional = (name: string, about: string, parse: z.ZodType<string, string>): Variable<string | undefined> => ({
  ...{ name, about, fallback: null, optional: true, parse },
})

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]'])
const keySetUrl = z.string().refine((value) => {
  const url = URL.parse(value)
  return url?.protocol === 'https:' || (url?.protocol === 'http:' && LOOPBACK.has(url.hostname))
}, 'must be an https URL')

const algorithms: Variable<JwtSettings['algorithms']> = {
  name: 'MILLRACE_JWT_ALGORITHMS',
  about: 'Signatures that are taken, comma-separated: RS256, ES256, EdDSA',
  fallback: ALGORITHMS.join(','),
  optional: false,
  parse: z
    .string()
    .transform((value) => value.split(',').map((name) => name.trim()))
    .pipe(z.array(z.enum(ALGORITHMS)).min(1)),
}

export const ACCESS = {
  jwtIssuer: optional('MILLRACE_JWT_ISSUER', 'Whose tokens are taken (`iss`); none without it', z.string()),
  jwtAudience: optional('MILLRACE_JWT_AUDIENCE', 'For whom they must be (`aud`)', z.string()),
  jwksUrl: optional('MILLRACE_JWT_JWKS_URL', "Where the issuer's keys are", keySetUrl),
  jwtAlgorithms: algorithms,
  jwtTenantClaim: text('MILLRACE_JWT_TENANT_CLAIM', 'Claim of a token that names its tenant', 'tenant'),
  jwtScopePrefix: text('MILLRACE_JWT_SCOPE_PREFIX', "What a token's scopes for Millrace begin with", 'millrace:'),
  keyEnvironment: {
    name: 'MILLRACE_KEY_ENVIRONMENT',
    about: 'Second part of the API keys that the admin port makes',
    fallback: 'live',
    optional: false,
    parse: z.string().refine(isEnvironment, 'must be 1 to 16 of a-z 0-9'),
  } satisfies Variable<string>,
  accessMaxStaleMs: integerVariable(
    'MILLRACE_ACCESS_MAX_STALE_MS',
    'How long keys and tenants are trusted when the control log cannot be read; then requests are answered 503, ms',
    30_000,
    { min: 6_000, max: 86_400_000 },
  ),
} as const

/** Null when no issuer is configured. Throws `invalid_config` (crash) when only a part of it is. */
export function jwtSettings(config: Compiled<typeof ACCESS>): JwtSettings | null {
  const { jwtIssuer: issuer, jwtAudience: audience, jwksUrl, jwtAlgorithms, jwtTenantClaim, jwtScopePrefix } = config
  if (issuer === undefined && audience === undefined && jwksUrl === undefined) return null
  if (issuer === undefined || audience === undefined || jwksUrl === undefined) {
    throw fatal('invalid_config', 'MILLRACE_JWT_ISSUER, MILLRACE_JWT_AUDIENCE and MILLRACE_JWT_JWKS_URL go together')
  }
  const named = { tenantClaim: jwtTenantClaim, scopePrefix: jwtScopePrefix }
  return { issuer, audience, jwksUrl, algorithms: jwtAlgorithms, ...named }
}
