import type { LimitSettings, Scope } from '../../schemas/control/access.ts'

/** Who asks, as the credential says and nothing else. */
export interface Principal {
  /** The API key's principal or the token's subject. */
  readonly name: string
  readonly tenant: string
  readonly scopes: ReadonlySet<Scope>
  /** What limits are counted by: `key:<key id>` or `sub:<issuer>#<subject>`. */
  readonly credential: string
  readonly limits: LimitSettings
  readonly tenantLimits: LimitSettings
}

export type Admission =
  | { readonly ok: true; readonly principal: Principal }
  /** `detail` may be told to anyone: it does not say which part of a credential was wrong, nor whether a key exists. */
  | { readonly ok: false; readonly status: 401 | 403 | 503; readonly code: string; readonly detail: string }

/** Decides who gets in: an API key or a JWT as `Authorization: Bearer …`, an API key also as `X-API-Key`. */
export interface Access {
  /** Never rejects. The same time for a key that is not there as for a wrong secret. */
  admit(headers: Readonly<Record<string, string | readonly string[] | undefined>>): Promise<Admission>
}
