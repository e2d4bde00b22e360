import type { Clock } from '../../infra/runtime/clock.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fateOf } from '../../infra/runtime/errors.ts'
import type { RedisClient } from '../../infra/runtime/redis/redis-client.ts'
import { keyIn } from '../access/entries.ts'
import { createKey } from '../commands/key-create.ts'
import { withLastUse } from '../commands/key-last-used.ts'
import { type ListedKey, listKeys } from '../commands/key-list.ts'
import { revokeKey } from '../commands/key-revoke.ts'
import { HttpProblem } from '../http/problem.ts'
import type { Gateway } from '../http/request.ts'
import { BODY_PROBLEMS, CREDENTIAL_PROBLEMS, problems } from '../http/schemas.ts'
import { administrator, answered, by, isOperator, json, mayManage, notThere, time } from './admin-rights.ts'
import { CreatedKey, KeyParams, Keys, limitsBody, limitsFrom, NewKey } from './admin-schemas.ts'

export interface AdminDeps {
  readonly control: ControlLog
  readonly redis: Pick<RedisClient, 'getMany'>
  readonly clock: Clock
  /** Second part of the keys that are made, e.g. `live`. */
  readonly environment: string
}

/** `/v1/admin/keys`: an admin makes, sees and revokes keys of its own tenant; one of the operator's tenant of all. */
export function adminKeys({ control, redis, clock, environment }: AdminDeps): (app: Gateway) => void {
  return (app) => {
    const config = { scope: 'admin' } as const

    app.post(
      '/v1/admin/keys',
      {
        config,
        schema: {
          ...{ operationId: 'createKey', summary: 'Make an API key', tags: ['admin'], body: NewKey },
          response: {
            201: json(CreatedKey, 'The key. Keep it: it is told once.'),
            ...{ ...CREDENTIAL_PROBLEMS, ...BODY_PROBLEMS, ...problems(404, 409) },
          },
        },
      },
      async ({ principal, body }, reply) => {
        const admin = administrator(principal)
        const { tenant = admin.tenant, reason, expires_at, limits, scopes } = body
        if (!mayManage(admin, tenant)) throw notThere(`there is no tenant ${tenant}`)
        const request = {
          ...{ tenant, principal: body.principal, scopes, environment },
          ...{ expiresAt: timeOf(expires_at), limits: limitsFrom(limits) },
        }
        const { key, text } = await answered(createKey(control, request, clock.now(), by(admin, reason)))
        return reply
          .code(201)
          .header('cache-control', 'no-store')
          .send({ ...keyBody(key), key: text })
      },
    )

    app.get(
      '/v1/admin/keys',
      {
        config,
        schema: {
          ...{ operationId: 'listKeys', summary: 'Keys that the caller looks after', tags: ['admin'] },
          response: { 200: json(Keys, 'By tenant, principal and age.'), ...CREDENTIAL_PROBLEMS },
        },
      },
      async ({ principal }) => {
        const admin = administrator(principal)
        const keys = listKeys(control, isOperator(admin) ? null : admin.tenant, clock.now())
        const used = await lastUses(redis, keys)
        return {
          keys: (used ?? keys.map((key) => ({ ...key, lastUsedAt: null }))).map(({ lastUsedAt, ...key }) => ({
            ...keyBody(key),
            last_used_at: lastUsedAt === null ? null : time(lastUsedAt),
          })),
          last_use_known: used !== null,
        }
      },
    )

    app.delete(
      '/v1/admin/keys/:key_id',
      {
        config,
        schema: {
          operationId: 'revokeKey',
          summary: 'Take a key out of service, at every gateway within 5 s',
          tags: ['admin'],
          params: KeyParams,
          response: {
            204: { description: 'It is revoked, now or before.', content: {} },
            ...{ ...CREDENTIAL_PROBLEMS, ...problems(400, 404, 409) },
          },
        },
      },
      async ({ principal, params: { key_id: id } }, reply) => {
        const admin = administrator(principal)
        const record = control.latest('api-key', id)
        const entry = record === null ? null : keyIn(record)
        if (entry === null || !mayManage(admin, entry.tenant)) throw notThere(`there is no key ${id}`)
        await answered(revokeKey(control, id, by(admin)))
        return reply.code(204).send()
      },
    )
  }
}

/** Null while Redis is away. */
async function lastUses(redis: AdminDeps['redis'], keys: readonly ListedKey[]) {
  try {
    return await withLastUse(redis, keys)
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    return null
  }
}

function timeOf(text: string | null | undefined): number | null {
  if (text === null || text === undefined) return null
  const at = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(at))
    throw new HttpProblem(400, 'invalid_time', 'expires_at must be a time such as 2026-01-31T12:00:00Z')
  return at
}

function keyBody({ id, tenant, principal, scopes, limits, createdAt, expiresAt, state }: ListedKey) {
  return {
    ...{ id, tenant, principal, scopes: [...scopes], limits: limitsBody(limits), state },
    created_at: time(createdAt),
    expires_at: expiresAt === null ? null : time(expiresAt),
  }
}
