import { expect, onTestFinished, test } from 'vitest'
import { retryable } from '../../infra/runtime/errors.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createAccess } from '../../ingest/access/create-access.ts'
import { createApp } from '../../ingest/app.ts'
import { createKey } from '../../ingest/commands/key-create.ts'
import { createTenant } from '../../ingest/commands/tenant-create.ts'
import type { Limits } from '../../ingest/limits/limits.ts'
import { adminRoutes } from '../../ingest/routes/admin.ts'
import type { Scope } from '../../schemas/control/access.ts'
import { accessLog, BY, keyRequest } from '../support/access-log.ts'
import { manualClock } from '../support/manual-clock.ts'

const UNLIMITED: Limits = {
  take: async () => ({ ok: true, standings: [], retryAfterSeconds: 0 }),
  giveBack: async () => {},
  enter: () => () => {},
}
const NO_LIMITS = {
  ...{ requests_per_second: null, events_per_second: null, bytes_per_second: null },
  ...{ concurrent_requests: null, events_per_month: null },
}
const NOT_FOUND = { status: 404, code: 'not_found' }

/** The admin port with an operator, two tenants, and an admin and a reader of the first. */
async function admin() {
  const clock = manualClock(Date.UTC(2026, 0, 1))
  const control = accessLog(clock)
  for (const tenant of ['millrace', 'acme', 'other']) await createTenant(control, { tenant, limits: {} }, BY)
  const key = (tenant: string, principal: string, scopes: readonly Scope[]) =>
    createKey(control, keyRequest({ tenant, principal, scopes }), clock.now(), BY)
  const keys = {
    operator: await key('millrace', 'op', ['admin']),
    ann: await key('acme', 'ann', ['admin']),
    reader: await key('acme', 'reader', ['read', 'ingest', 'label', 'model', 'erase']),
    other: await key('other', 'bob', ['admin']),
  }
  const uses = new Map<string, number>()
  const redis = {
    away: false,
    async getMany(groups: readonly (readonly string[])[]) {
      if (redis.away) throw retryable('redis_unavailable', 'away')
      return groups.map((names) =>
        names.map((name) => {
          const at = uses.get(name.slice(name.lastIndexOf(':') + 1))
          return at === undefined ? null : Buffer.from(String(at))
        }),
      )
    },
  }
  const lastUsed = { used: (id: string) => void uses.set(id, clock.now()) }
  const app = await createApp({
    access: createAccess({ control, jwt: null, clock, logger: silentLogger, lastUsed }),
    ...{ limits: UNLIMITED, usage: { served: () => {} }, logger: silentLogger },
    ...{ maxBodyBytes: 65_536, headersTimeoutMs: 1_000, requestTimeoutMs: 1_000, maxHeaderBytes: 8_192 },
    ...{ maxConnections: 10, plugins: [adminRoutes({ control, redis, clock, environment: 'live' })] },
  })
  onTestFinished(() => app.close())

  async function ask(
    who: keyof typeof keys | { readonly text: string } | null,
    method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
    url: string,
    payload?: object,
  ) {
    const text = who === null ? null : typeof who === 'string' ? keys[who].text : who.text
    const headers = text === null ? {} : { authorization: `Bearer ${text}` }
    const answer = await app.inject({ method, url: `/v1/admin${url}`, headers, ...(payload ? { payload } : {}) })
    return { status: answer.statusCode, headers: answer.headers, ...(answer.body === '' ? {} : answer.json()) }
  }
  return { ask, clock, control, keys, redis }
}

test('the operator makes tenants, changes their limits, suspends and resumes them', async () => {
  const { ask } = await admin()
  const made = await ask('operator', 'POST', '/tenants', { tenant: 'shop', limits: { events_per_second: 5 } })
  const body = { tenant: 'shop', state: 'active', limits: { ...NO_LIMITS, events_per_second: 5 } }
  expect(made).toMatchObject({
    status: 201,
    ...body,
    changed_by: 'millrace/op',
    changed_at: expect.stringMatching(/^\d{4}-.*Z$/),
  })
  const again = await ask('operator', 'POST', '/tenants', { tenant: 'shop' })
  expect(again).toMatchObject({ status: 409, code: 'tenant_exists' })

  const limits = { events_per_second: null, requests_per_second: 3 }
  const patched = await ask('operator', 'PATCH', '/tenants/shop', { limits, reason: 'asked for' })
  expect(patched).toMatchObject({ status: 200, limits: { ...NO_LIMITS, requests_per_second: 3 }, reason: 'asked for' })
  expect(await ask('operator', 'PATCH', '/tenants/shop', { state: 'suspended' })).toMatchObject({ state: 'suspended' })
  const { tenants } = await ask('operator', 'GET', '/tenants')
  expect(tenants.map(({ tenant, state }: Record<string, string>) => `${tenant} ${state}`)).toEqual([
    ...['acme active', 'millrace active', 'other active', 'shop suspended'],
  ])
  expect(await ask('operator', 'PATCH', '/tenants/acme', { state: 'suspended' })).toMatchObject({ status: 200 })
  expect(await ask('ann', 'GET', '/tenants')).toMatchObject({ status: 403, code: 'tenant_refused' })
  expect(await ask('operator', 'PATCH', '/tenants/acme', { state: 'active' })).toMatchObject({ status: 200 })
  expect(await ask('ann', 'GET', '/tenants')).toMatchObject({ status: 200, tenants: [{ tenant: 'acme' }] })
})

test('an admin makes keys of its own tenant, sees their use, and revokes them', async () => {
  const { ask, keys, redis } = await admin()
  const request = { principal: 'web', scopes: ['ingest', 'read'], limits: { requests_per_second: 9 } }
  const made = await ask('ann', 'POST', '/keys', { ...request, expires_at: '2026-02-01T00:00:00Z' })
  expect(made).toMatchObject({
    ...{ status: 201, tenant: 'acme', principal: 'web', scopes: ['ingest', 'read'], state: 'active' },
    ...{ limits: { ...NO_LIMITS, requests_per_second: 9 }, expires_at: '2026-02-01T00:00:00.000Z' },
    ...{ headers: { 'cache-control': 'no-store' }, key: expect.stringMatching(/^mr_live_/) },
  })
  // it gets in, and is told that it may not do this
  expect(await ask({ text: made.key }, 'GET', '/keys')).toMatchObject({ status: 403, code: 'missing_scope' })

  const listed = await ask('ann', 'GET', '/keys')
  expect(listed).toMatchObject({ status: 200, last_use_known: true })
  expect(listed.keys.map((key: { principal: string }) => key.principal)).toEqual(['ann', 'reader', 'web'])
  expect(listed.keys.map((key: { last_used_at: string | null }) => key.last_used_at)).toEqual([
    ...['2026-01-01T00:00:00.000Z', null, '2026-01-01T00:00:00.000Z'],
  ])
  expect(JSON.stringify(listed)).not.toMatch(/hash|secret|mr_/)
  redis.away = true
  const blind = await ask('ann', 'GET', '/keys')
  expect(blind).toMatchObject({ status: 200, last_use_known: false, keys: [{ last_used_at: null }, {}, {}] })

  for (let nth = 0; nth < 2; nth++)
    expect(await ask('ann', 'DELETE', `/keys/${made.id}`)).toMatchObject({ status: 204 })
  const refused = await ask({ text: made.key }, 'GET', '/keys')
  expect(refused).toMatchObject({ status: 401, code: 'invalid_credential' })
  const { keys: all } = await ask('operator', 'GET', '/keys')
  expect(all.map((key: { id: string; state: string }) => [key.id, key.state])).toContainEqual([made.id, 'revoked'])
  expect(all).toHaveLength(Object.keys(keys).length + 1)
})

test("another tenant's objects are not there: for an admin they are told like what never was", async () => {
  const { ask, keys, control } = await admin()
  const before = control.revision
  const foreign = keys.other.key.id
  const [one, none] = [await ask('ann', 'DELETE', `/keys/${foreign}`), await ask('ann', 'DELETE', '/keys/NoSuchKey123')]
  expect(one).toMatchObject(NOT_FOUND)
  expect(JSON.stringify(one.detail).replace(foreign, 'X')).toBe(
    JSON.stringify(none.detail).replace('NoSuchKey123', 'X'),
  )
  for (const tenant of ['other', 'nobody']) {
    expect(await ask('ann', 'PATCH', `/tenants/${tenant}`, { state: 'suspended' })).toMatchObject(NOT_FOUND)
    const request = { tenant, principal: 'x', scopes: ['read'] }
    expect(await ask('ann', 'POST', '/keys', request)).toMatchObject(NOT_FOUND)
  }
  expect(await ask('operator', 'PATCH', '/tenants/nobody', {})).toMatchObject(NOT_FOUND)
  // its own tenant it sees, and may not set its own limits
  const own = await ask('ann', 'PATCH', '/tenants/acme', { limits: { events_per_second: null } })
  expect(own).toMatchObject({ status: 403, code: 'operator_only' })
  expect(await ask('ann', 'POST', '/tenants', { tenant: 'mine' })).toMatchObject({ status: 403, code: 'operator_only' })
  expect(control.revision).toBe(before)
  expect(await ask('operator', 'DELETE', `/keys/${foreign}`)).toMatchObject({ status: 204 })
})

test('without the scope admin nobody gets in, whatever else a key allows', async () => {
  const { ask } = await admin()
  const routes = [
    ['POST', '/tenants'],
    ['GET', '/tenants'],
    ['PATCH', '/tenants/acme'],
    ['POST', '/keys'],
    ['GET', '/keys'],
    ['DELETE', '/keys/abc'],
  ] as const
  for (const [method, url] of routes) {
    expect(await ask('reader', method, url)).toMatchObject({ status: 403, code: 'missing_scope' })
    const nobody = await ask(null, method, url)
    expect(nobody).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer realm="millrace"' } })
  }
})

test('a third live key of a principal, and bodies that are wrong', async () => {
  const { ask } = await admin()
  const request = { principal: 'web', scopes: ['read'] }
  for (const status of [201, 201, 409]) expect(await ask('ann', 'POST', '/keys', request)).toMatchObject({ status })
  const wrong = [
    { ...request, scopes: [] },
    { ...request, scopes: ['fly'] },
    { ...request, scopes: ['read', 'read'] },
    { ...request, principal: '' },
    { ...request, expires_at: 'tomorrow' },
    { ...request, expires_at: '2025-12-31T00:00:00Z' },
    { ...request, limits: { events_per_second: 0 } },
    { ...request, limits: { speed: 1 } },
    { ...request, hash: 'mine' },
    { scopes: ['read'] },
  ]
  for (const body of wrong)
    expect([body, await ask('ann', 'POST', '/keys', body)]).toMatchObject([body, { status: 400 }])
  for (const tenant of ['', 'a b', 7]) {
    expect(await ask('operator', 'POST', '/tenants', { tenant })).toMatchObject({ status: 400 })
  }
})
