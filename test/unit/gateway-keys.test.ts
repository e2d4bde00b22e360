import { crc32 } from 'node:zlib'
import { expect, test } from 'vitest'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { createAccess } from '../../ingest/access/create-access.ts'
import { createLastUsed, lastUsedOf } from '../../ingest/access/last-used.ts'
import { createDevelopmentKey, createKey, rotateKey } from '../../ingest/commands/key-create.ts'
import { listKeys } from '../../ingest/commands/key-list.ts'
import { revokeKey } from '../../ingest/commands/key-revoke.ts'
import { changeTenant } from '../../ingest/commands/tenant-change.ts'
import { createTenant } from '../../ingest/commands/tenant-create.ts'
import { UNLIMITED } from '../../schemas/control/access.ts'
import { accessLog, BY, keyRequest } from '../support/access-log.ts'
import { manualClock } from '../support/manual-clock.ts'

const INVALID = { ok: false, status: 401, code: 'invalid_credential', detail: 'the credential is not valid' }
const REFUSED = { ok: false, status: 403, code: 'tenant_refused', detail: expect.any(String) }

async function gateway() {
  const clock = manualClock(Date.UTC(2026, 0, 1))
  const control = accessLog(clock)
  const used: string[] = []
  await createTenant(control, { tenant: 'acme', limits: { eventsPerSecond: 100 } }, BY)
  const lastUsed = { used: (id: string) => void used.push(id) }
  const access = createAccess({ control, jwt: null, clock, logger: silentLogger, lastUsed })
  const key = async (more = {}) => await createKey(control, keyRequest(more), clock.now(), BY)
  const bearer = (text: string) => access.admit({ authorization: `Bearer ${text}` })
  return { clock, control, access, key, bearer, used }
}

test('a key gets in, in either header, as what the log says of it and its tenant', async () => {
  const { access, key, bearer, used, control } = await gateway()
  const { text, key: made } = await key({ limits: { requestsPerSecond: 5 } })
  const principal = {
    ...{ name: 'shop', tenant: 'acme', scopes: new Set(['ingest', 'read']), credential: `key:${made.id}` },
    limits: { ...UNLIMITED, requestsPerSecond: 5 },
    tenantLimits: { ...UNLIMITED, eventsPerSecond: 100 },
  }
  expect(await bearer(text)).toEqual({ ok: true, principal })
  expect(await access.admit({ 'x-api-key': text })).toEqual({ ok: true, principal })
  expect(await access.admit({ authorization: `bearer ${text}` })).toEqual({ ok: true, principal })
  expect(used).toEqual([made.id, made.id, made.id])
  await changeTenant(control, 'acme', { limits: { eventsPerSecond: null } }, BY)
  expect(await bearer(text)).toEqual({ ok: true, principal: { ...principal, tenantLimits: UNLIMITED } })
})

test('without a credential, with two, or with something else nobody gets in', async () => {
  const { access, key, bearer } = await gateway()
  const { text } = await key()
  expect(await access.admit({})).toMatchObject({ status: 401, code: 'missing_credential' })
  const two = await access.admit({ authorization: `Bearer ${text}`, 'x-api-key': text })
  expect(two).toMatchObject({ status: 401, code: 'ambiguous_credential' })
  for (const authorization of ['', 'Bearer', 'Bearer ', `Basic ${text}`, text, `Bearer ${text} ${text}`]) {
    expect(await access.admit({ authorization })).toEqual(INVALID)
  }
  for (const apiKey of [[text, text], `${text}, ${text}`, '']) {
    expect(await access.admit({ 'x-api-key': apiKey })).toEqual(INVALID)
  }
  // no issuer is configured
  expect(await bearer('a.b.c')).toEqual(INVALID)
})

test('a key that is not there, a wrong secret, a revoked and an expired key are told alike', async () => {
  const { clock, control, key, bearer, used } = await gateway()
  const [{ text, key: made }, other] = [await key(), await key({ principal: 'other' })]
  // keys whose crc is right: made by somebody who knows the layout
  const stranger = (await (await gateway()).key()).text
  const answers = [await bearer(stranger), await bearer(withSecretOf(text, other.text))]
  await revokeKey(control, made.id, BY)
  answers.push(await bearer(text))
  const brief = await key({ principal: 'brief', expiresAt: clock.now() + 1_000 })
  expect(await bearer(brief.text)).toMatchObject({ ok: true })
  clock.advance(1_000)
  answers.push(await bearer(brief.text), await bearer(`${other.text.slice(0, -1)}!`))
  for (const answer of answers) expect(answer).toEqual(INVALID)
  expect(used).toEqual([brief.key.id])
})

test('nobody gets in with a key of a tenant that is suspended, and again when it is resumed', async () => {
  const { control, key, bearer } = await gateway()
  const { text } = await key()
  await changeTenant(control, 'acme', { state: 'suspended' }, BY)
  expect(await bearer(text)).toEqual(REFUSED)
  await changeTenant(control, 'acme', { state: 'active' }, BY)
  expect(await bearer(text)).toMatchObject({ ok: true })
})

test('records that are not understood let nobody in', async () => {
  const { control, key, bearer } = await gateway()
  const { text, key: made } = await key()
  const change = async (kind: 'api-key' | 'tenant', name: string, edit: object) => {
    const record = control.latest(kind, name)
    const value = { ...(record?.value as object), ...edit }
    await control.append({ kind, name, basedOn: record?.revision ?? null, value, ...BY })
  }
  for (const edit of [{ state: 'new' }, { limits: {} }, { hash: 'x' }, { expiresAt: 'soon' }, { scopes: 'all' }]) {
    const before = control.latest('api-key', made.id)?.value as object
    await change('api-key', made.id, edit)
    expect(await bearer(text)).toEqual(INVALID)
    await change('api-key', made.id, before)
  }
  await change('api-key', made.id, { scopes: ['ingest', 'fly'] })
  expect(await bearer(text)).toMatchObject({ principal: { scopes: new Set(['ingest']) } })
  await change('tenant', 'acme', { limits: null })
  expect(await bearer(text)).toEqual(REFUSED)
})

test('when the control log was not read for too long nobody gets in', async () => {
  const { control, key, bearer } = await gateway()
  const { text } = await key()
  control.staleMs = 30_000
  expect(await bearer(text)).toMatchObject({ ok: true })
  control.staleMs = 30_001
  expect(await bearer(text)).toMatchObject({ ok: false, status: 503, code: 'access_unavailable' })
  control.staleMs = 0
  expect(await bearer(text)).toMatchObject({ ok: true })
})

test('a principal has at most two live keys, also when they are made at the same time', async () => {
  const { clock, control, key } = await gateway()
  const first = await key()
  const second = await rotateKey(
    control,
    first.key.id,
    { expiresAt: clock.now() + 1_000, environment: 'test' },
    clock.now(),
    BY,
  )
  expect(second.key).toMatchObject({ principal: 'shop', scopes: ['ingest', 'read'] })
  await expect(key()).rejects.toMatchObject({
    ...{ fate: 'reject', code: 'too_many_keys', message: expect.stringContaining(first.key.id) },
  })
  await key({ principal: 'another' })
  clock.advance(1_000)
  await key()
  await revokeKey(control, first.key.id, BY)
  const racing = await Promise.allSettled([key(), key(), key()])
  expect(racing.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  const live = listKeys(control, 'acme', clock.now()).filter(({ state }) => state === 'active')
  expect(live.map(({ principal }) => principal)).toEqual(['another', 'shop', 'shop'])
})

test('what cannot be: refusals say so', async () => {
  const { clock, control, key } = await gateway()
  await expect(createTenant(control, { tenant: 'acme', limits: {} }, BY)).rejects.toMatchObject({
    code: 'tenant_exists',
  })
  for (const tenant of ['', 'a b', '-a', 'ä', 'a/b', 'a'.repeat(64)]) {
    const made = createTenant(control, { tenant, limits: {} }, BY)
    await expect(made).rejects.toMatchObject({ code: 'invalid_tenant' })
  }
  for (const limit of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    const changed = changeTenant(control, 'acme', { limits: { eventsPerSecond: limit } }, BY)
    await expect(changed).rejects.toMatchObject({ code: 'invalid_limit' })
  }
  await expect(changeTenant(control, 'nobody', {}, BY)).rejects.toMatchObject({ code: 'unknown_tenant' })
  await expect(key({ tenant: 'nobody' })).rejects.toMatchObject({ code: 'unknown_tenant' })
  await expect(revokeKey(control, 'nothing', BY)).rejects.toMatchObject({ code: 'unknown_key' })
  for (const wrong of [{ scopes: [] }, { principal: ' ' }, { environment: 'L' }, { expiresAt: clock.now() }]) {
    await expect(key(wrong)).rejects.toMatchObject({ code: 'invalid_key' })
  }
})

test('no secret is in the log', async () => {
  const { control, key } = await gateway()
  const { text, key: made } = await key()
  const written = JSON.stringify(control.latest('api-key', made.id))
  expect(written).not.toContain(text.split('_')[3])
  expect(made).not.toHaveProperty('hash')
})

test('a development key replaces the one before it', async () => {
  const { clock, control, bearer } = await gateway()
  const first = await createDevelopmentKey(control, { tenant: 'default', now: clock.now() })
  expect(first).toMatch(/^mr_dev_/)
  const scopes = new Set(['ingest', 'read', 'label', 'admin'])
  expect(await bearer(first)).toMatchObject({ principal: { tenant: 'default', name: 'development', scopes } })
  const second = await createDevelopmentKey(control, { tenant: 'default', now: clock.now() })
  expect(second).not.toBe(first)
  expect(await bearer(first)).toEqual(INVALID)
  expect(await bearer(second)).toMatchObject({ ok: true })
})

test('when keys were last used is written once a minute, and skipped while Redis is away', async () => {
  const clock = manualClock()
  const there = new Map<string, string>()
  let away = false
  const redis = {
    writeMany: async (writes: readonly object[]) => {
      if (away) throw new Error('away')
      for (const { key, value } of writes as { key: string; value: string }[]) there.set(key, value)
    },
    getMany: async (groups: readonly (readonly string[])[]) =>
      groups.map((keys) => keys.map((name) => (there.has(name) ? Buffer.from(there.get(name) ?? '') : null))),
  }
  const reasons: unknown[] = []
  const lastUsed = createLastUsed({ redis, clock, onSkipped: (error) => reasons.push(error) })
  const first = clock.now()
  lastUsed.used('a')
  clock.advance(59_999)
  lastUsed.used('a')
  expect(await lastUsedOf(redis, ['b', 'a'])).toEqual(new Map([['a', first]]))
  clock.advance(1)
  lastUsed.used('a')
  expect(await lastUsedOf(redis, ['a'])).toEqual(new Map([['a', first + 60_000]]))
  away = true
  lastUsed.used('b')
  await Promise.resolve()
  expect(lastUsed.skipped).toBe(1)
  expect(reasons).toEqual([new Error('away')])
})

/** The first key with the secret of the second, and the crc that belongs to it. */
function withSecretOf(text: string, other: string): string {
  const body = [...text.split('_').slice(0, 3), other.split('_')[3]].join('_')
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  let crc = crc32(body)
  let end = ''
  for (let digit = 0; digit < 6; digit++) {
    end = digits[crc % 62] + end
    crc = Math.floor(crc / 62)
  }
  return `${body}_${end}`
}
