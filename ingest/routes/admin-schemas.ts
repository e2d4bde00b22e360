import { type Static, type TSchema, Type } from 'typebox'
import { type LimitSettings, SCOPES } from '../../schemas/control/access.ts'

// The bodies of /v1/admin.

const count = (description: string) =>
  Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: 1_000_000_000_000 }), Type.Null()], { description }))

const LIMITS = {
  requests_per_second: count('Requests in a second.'),
  events_per_second: count('Events in a second.'),
  bytes_per_second: count('Bytes of request bodies in a second.'),
  concurrent_requests: count('Requests at one time, over all gateways: each lets its part run, one at least.'),
  events_per_month: count('Events in a calendar month (UTC).'),
}

const LimitsGiven = Type.Object(LIMITS, {
  title: 'LimitsGiven',
  description: 'Null lifts a limit; what is not named stays (of something new: is not limited).',
  additionalProperties: false,
})
const Limits = Type.Object(LIMITS, { title: 'Limits', description: 'Null = not limited.' })

const Time = (description: string) =>
  Type.String({ description: `${description} ISO 8601, UTC.`, examples: ['2026-01-31T12:00:00.000Z'] })
const nullable = <T extends TSchema>(schema: T, description: string) =>
  Type.Union([schema, Type.Null()], { description })

const Reason = Type.Optional(Type.String({ maxLength: 1_000, description: 'Why, for the control log.' }))
const TenantName = Type.String({
  description: 'Up to 63 of a-z A-Z 0-9 . _ -',
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$',
})
const KeyId = Type.String({ description: 'Third part of the text of a key.', pattern: '^[0-9A-Za-z]{1,64}$' })
const Scopes = Type.Array(Type.Enum([...SCOPES]), { minItems: 1, maxItems: SCOPES.length, uniqueItems: true })

export const TenantParams = Type.Object({ tenant: Type.String({ minLength: 1, maxLength: 256 }) })
export const KeyParams = Type.Object({ key_id: KeyId })

export const NewTenant = Type.Object(
  { tenant: TenantName, limits: Type.Optional(LimitsGiven), reason: Reason },
  { title: 'NewTenant', additionalProperties: false },
)

export const TenantPatch = Type.Object(
  {
    state: Type.Optional(
      Type.Enum(['active', 'suspended'], { description: 'suspended: nobody gets in with a credential of the tenant.' }),
    ),
    limits: Type.Optional(LimitsGiven),
    reason: Reason,
  },
  { title: 'TenantPatch', additionalProperties: false },
)

export const Tenant = Type.Object(
  {
    tenant: Type.String(),
    state: Type.Enum(['active', 'suspended']),
    limits: Limits,
    changed_by: Type.String({ description: 'Who changed it last.' }),
    reason: Type.String(),
    changed_at: Time('When.'),
  },
  { title: 'Tenant' },
)
export const Tenants = Type.Object({ tenants: Type.Array(Tenant) }, { title: 'Tenants' })

export const NewKey = Type.Object(
  {
    tenant: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: "Default: the caller's." })),
    principal: Type.String({
      description: 'Service or person that will hold it; has at most two live keys, so that one can replace the other.',
      pattern: '^[\\x21-\\x7e][\\x20-\\x7e]{0,127}$',
    }),
    scopes: Scopes,
    expires_at: Type.Optional(nullable(Time('When it ends.'), 'Null, or not given: it does not expire.')),
    limits: Type.Optional(LimitsGiven),
    reason: Reason,
  },
  { title: 'NewKey', additionalProperties: false },
)

const KEY = {
  id: KeyId,
  tenant: Type.String(),
  principal: Type.String(),
  scopes: Type.Array(Type.Enum([...SCOPES])),
  limits: Limits,
  created_at: Time('When it was made.'),
  expires_at: nullable(Time('When it ends.'), 'Null: it does not expire.'),
  state: Type.Enum(['active', 'expired', 'revoked']),
}

export const CreatedKey = Type.Object(
  { ...KEY, key: Type.String({ description: 'The key itself: nobody can tell it again.' }) },
  { title: 'CreatedKey' },
)
export const Keys = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        {
          ...KEY,
          last_used_at: nullable(Time('When it was last used, to the minute.'), 'Null: not for a year, or unknown.'),
        },
        { title: 'Key' },
      ),
    ),
    last_use_known: Type.Boolean({ description: 'False: Redis does not answer, so last_used_at says nothing.' }),
  },
  { title: 'Keys' },
)

const NAMES = [
  ['requestsPerSecond', 'requests_per_second'],
  ['eventsPerSecond', 'events_per_second'],
  ['bytesPerSecond', 'bytes_per_second'],
  ['concurrentRequests', 'concurrent_requests'],
  ['eventsPerMonth', 'events_per_month'],
] as const satisfies readonly (readonly [keyof LimitSettings, keyof typeof LIMITS])[]

export function limitsFrom(body: Static<typeof LimitsGiven> = {}): Partial<LimitSettings> {
  return Object.fromEntries(NAMES.flatMap(([ours, theirs]) => (theirs in body ? [[ours, body[theirs]]] : [])))
}

export function limitsBody(limits: LimitSettings): Static<typeof Limits> {
  return Object.fromEntries(NAMES.map(([ours, theirs]) => [theirs, limits[ours]]))
}
