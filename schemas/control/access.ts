/** What the control log says of who may use the gateway. */

export const SCOPES = ['ingest', 'read', 'label', 'model', 'admin', 'erase'] as const
/** What a credential may do; what it does not name it may not do. */
export type Scope = (typeof SCOPES)[number]

/** Null = not limited. */
export interface LimitSettings {
  readonly requestsPerSecond: number | null
  readonly eventsPerSecond: number | null
  /** Of request bodies. */
  readonly bytesPerSecond: number | null
  readonly concurrentRequests: number | null
  /** Events accepted in a calendar month (UTC). */
  readonly eventsPerMonth: number | null
}

/** Who owns events and predictions: kind `tenant`, name `<tenant>`. */
export interface TenantEntry {
  /** Nobody gets in with a credential of a suspended tenant. */
  readonly state: 'active' | 'suspended'
  /** Of all its credentials together. */
  readonly limits: LimitSettings
}

/** A credential: kind `api-key`, name `<key id>`. A principal has at most two that are live, so that one can replace the other. */
export interface ApiKeyEntry {
  readonly tenant: string
  /** The service or person that holds it. */
  readonly principal: string
  readonly scopes: readonly Scope[]
  /** SHA-256 of the secret (256 random bits), hex. The secret itself is nowhere. */
  readonly hash: string
  /** Of this key alone. */
  readonly limits: LimitSettings
  /** Epoch ms. */
  readonly createdAt: number
  /** Epoch ms; null = it does not expire. */
  readonly expiresAt: number | null
  readonly state: 'active' | 'revoked'
}

export const UNLIMITED: LimitSettings = {
  requestsPerSecond: null,
  eventsPerSecond: null,
  bytesPerSecond: null,
  concurrentRequests: null,
  eventsPerMonth: null,
}
