import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { readConfig } from '../../infra/runtime/config.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { ACCESS, jwtSettings } from '../../ingest/access/config.ts'
import { createAccess } from '../../ingest/access/create-access.ts'
import type { JwtSettings } from '../../ingest/access/tokens.ts'
import { changeTenant } from '../../ingest/commands/tenant-change.ts'
import { createTenant } from '../../ingest/commands/tenant-create.ts'
import { UNLIMITED } from '../../schemas/control/access.ts'
import { accessLog, BY } from '../support/access-log.ts'
import { manualClock } from '../support/manual-clock.ts'
import { type Json, signed, startTokenIssuer } from '../support/token-issuer.ts'

const INVALID = { ok: false, status: 401, code: 'invalid_credential', detail: 'the credential is not valid' }
const REFUSED = { ok: false, status: 403, code: 'tenant_refused', detail: expect.any(String) }
const UNAVAILABLE = { ok: false, status: 503, code: 'access_unavailable', detail: expect.any(String) }
const START = Date.UTC(2026, 0, 1)
const NOW = START / 1_000

const CLAIMS = { iss: 'https://issuer.test/', aud: 'millrace', sub: 'ann', exp: NOW + 600, tenant: 'acme' }

async function gateway(more: Partial<JwtSettings> = {}) {
  const clock = manualClock(START)
  const control = accessLog(clock)
  await createTenant(control, { tenant: 'acme', limits: { eventsPerSecond: 9 } }, BY)
  const { value: issuer, stop } = await startTokenIssuer()
  onTestFinished(stop)
  issuer.add('rs', 'RS256')
  issuer.add('es', 'ES256')
  issuer.add('ed', 'EdDSA')
  const env = { MILLRACE_JWT_ISSUER: CLAIMS.iss, MILLRACE_JWT_AUDIENCE: CLAIMS.aud, MILLRACE_JWT_JWKS_URL: issuer.url }
  const configured = jwtSettings(readConfig(ACCESS, env))
  const jwt = configured === null ? null : { ...configured, ...more }
  const access = createAccess({ control, jwt, clock, logger: silentLogger, lastUsed: { used: () => {} } })
  const admit = (token: string) => access.admit({ authorization: `Bearer ${token}` })
  return { clock, control, issuer, admit, claims: (edit: Json = {}) => admit(issuer.token({ ...CLAIMS, ...edit })) }
}

test('tokens of the issuer get in, whichever of its keys signed them', async () => {
  const { issuer, admit } = await gateway()
  for (const [kid, alg] of [
    ['rs', 'RS256'],
    ['es', 'ES256'],
    ['ed', 'EdDSA'],
  ]) {
    const scope = 'openid millrace:ingest millrace:read admin millrace:fly'
    expect(await admit(issuer.token({ ...CLAIMS, scope }, { kid, alg }))).toEqual({
      ok: true,
      principal: {
        ...{ name: 'ann', tenant: 'acme', scopes: new Set(['ingest', 'read']), limits: UNLIMITED },
        credential: 'sub:https://issuer.test/#ann',
        tenantLimits: { ...UNLIMITED, eventsPerSecond: 9 },
      },
    })
  }
  expect(issuer.asked).toBe(1)
})

test('scopes come from scp too, as a list; without any a token allows nothing', async () => {
  const { claims } = await gateway()
  const scp = ['millrace:label', 'millrace:admin', 7]
  expect(await claims({ scp })).toMatchObject({ principal: { scopes: new Set(['label', 'admin']) } })
  expect(await claims()).toMatchObject({ principal: { scopes: new Set() } })
  expect(await claims({ scope: { ingest: true } })).toMatchObject({ principal: { scopes: new Set() } })
})

test('claims: time, audience, issuer, subject', async () => {
  const { claims } = await gateway()
  const refused: Json[] = [
    { exp: NOW - 6 },
    { exp: undefined },
    { exp: 'never' },
    { nbf: NOW + 6 },
    { aud: 'another' },
    { aud: ['another'] },
    { aud: undefined },
    { iss: 'https://issuer.test' },
    { iss: undefined },
    { sub: undefined },
    { sub: '' },
    { sub: 'x'.repeat(257) },
    { sub: 7 },
  ]
  for (const edit of refused) expect([edit, await claims(edit)]).toEqual([edit, INVALID])
  for (const edit of [{ exp: NOW - 4 }, { nbf: NOW + 4 }, { aud: ['another', 'millrace'] }]) {
    expect([edit, await claims(edit)]).toMatchObject([edit, { ok: true }])
  }
})

test('the tenant is what the configured claim says, and nothing without it', async () => {
  const { control, claims } = await gateway()
  for (const tenant of [undefined, null, '', 7, ['acme'], 'nobody']) expect(await claims({ tenant })).toEqual(REFUSED)
  await changeTenant(control, 'acme', { state: 'suspended' }, BY)
  expect(await claims()).toEqual(REFUSED)
  const other = await gateway({ tenantClaim: 'https://millrace.test/tenant' })
  expect(await other.claims()).toEqual(REFUSED)
  expect(await other.claims({ tenant: undefined, 'https://millrace.test/tenant': 'acme' })).toMatchObject({ ok: true })
})

test('forged: no signature, the public key as a secret, other algorithms, keys that the token brings along', async () => {
  const { issuer, admit } = await gateway()
  const rs = issuer.pairs.get('rs')
  if (rs === undefined) throw new Error('no key')
  const good = issuer.token(CLAIMS)
  const [head = '', body = '', end = ''] = good.split('.')
  const hmac = (secret: string | Buffer, header: Json) =>
    signed(header, CLAIMS, (text) => createHmac('sha256', secret).update(text).digest())
  const foreign = await startTokenIssuer()
  onTestFinished(foreign.stop)
  foreign.value.add('rs', 'RS256')
  const jwk = foreign.value.pairs.get('rs')?.publicKey.export({ format: 'jwk' })
  const encoded = (part: Json) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const forged: Readonly<Record<string, string>> = {
    none: `${encoded({ alg: 'none', kid: 'rs' })}.${body}.`,
    'None, signed': signed({ alg: 'None', kid: 'rs' }, CLAIMS, () => Buffer.from(end, 'base64url')),
    'public key as secret, PEM spki': hmac(rs.publicKey.export({ format: 'pem', type: 'spki' }), {
      alg: 'HS256',
      kid: 'rs',
    }),
    'public key as secret, PEM pkcs1': hmac(rs.publicKey.export({ format: 'pem', type: 'pkcs1' }), {
      alg: 'HS256',
      kid: 'rs',
    }),
    'public key as secret, DER': hmac(rs.publicKey.export({ format: 'der', type: 'spki' }), {
      alg: 'HS256',
      kid: 'rs',
    }),
    'HMAC said to be RS256': hmac('secret', { alg: 'RS256', kid: 'rs' }),
    'RS256 with the key of ES256': issuer.token(CLAIMS, { alg: 'RS256', kid: 'es' }),
    'ES256 said for a key of RS256': signed({ alg: 'ES256', kid: 'rs' }, CLAIMS, () => Buffer.alloc(64)),
    'an all-zero ES256 signature': signed({ alg: 'ES256', kid: 'es' }, CLAIMS, () => Buffer.alloc(64)),
    'an algorithm that is not taken': signed({ alg: 'RS512', kid: 'rs' }, CLAIMS, () => Buffer.from(end, 'base64url')),
    'no kid': issuer.token(CLAIMS, { kid: undefined }),
    'empty kid': issuer.token(CLAIMS, { kid: '' }),
    'kid that is no text': issuer.token(CLAIMS, { kid: 7 }),
    'unknown kid': issuer.token(CLAIMS, { kid: 'another' }),
    'payload tampered with': `${head}.${encoded({ ...CLAIMS, tenant: 'millrace' })}.${end}`,
    'header tampered with': `${encoded({ alg: 'RS256', kid: 'rs', typ: 'JWT' })}.${body}.${end}`,
    'jwk in the header': foreign.value.token(CLAIMS, { jwk }),
    'jku in the header': foreign.value.token(CLAIMS, { jku: foreign.value.url }),
    'x5u in the header': foreign.value.token(CLAIMS, { x5u: foreign.value.url }),
    'an extension that must be understood': issuer.token(CLAIMS, { crit: ['x'], x: 1 }),
    'five parts': `${good}.${end}.${end}`,
    'two parts': `${head}.${body}`,
    'no JSON': `${head}.${Buffer.from('{').toString('base64url')}.${end}`,
  }
  for (const [name, token] of Object.entries(forged)) expect([name, await admit(token)]).toEqual([name, INVALID])
  expect(foreign.value.asked).toBe(0)
  // what a token brings along does no harm either when the issuer signed it
  expect(await admit(issuer.token(CLAIMS, { jwk, jku: foreign.value.url }))).toMatchObject({ ok: true })
})

test('whatever is sent is refused as an invalid credential', async () => {
  const { admit, issuer } = await gateway()
  const good = issuer.token(CLAIMS)
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.string({ unit: 'binary-ascii', maxLength: 3 }), async (at, text) => {
      const token = good.slice(0, at) + text + good.slice(at + 1)
      // the last character of a part has bits that mean nothing
      fc.pre(token !== good && !['.', undefined].includes(good[at + 1]))
      expect(await admit(token)).toEqual(INVALID)
    }),
    { numRuns: 300 },
  )
})

test('unknown kids in any number ask the issuer once in 30 s; a new key is found then', async () => {
  const { clock, issuer, admit } = await gateway()
  expect(await admit(issuer.token(CLAIMS))).toMatchObject({ ok: true })
  expect(issuer.asked).toBe(1)
  issuer.add('new', 'ES256')
  const token = issuer.token(CLAIMS, { kid: 'new', alg: 'ES256' })
  const storm = Array.from({ length: 200 }, (_, nth) => admit(issuer.token(CLAIMS, { kid: `kid-${nth}` })))
  expect(new Set((await Promise.all(storm)).map(({ ok }) => ok))).toEqual(new Set([false]))
  expect(await admit(token)).toEqual(INVALID)
  expect(issuer.asked).toBe(1)
  clock.advance(30_000)
  const answers = await Promise.all(Array.from({ length: 50 }, () => admit(token)))
  expect(new Set(answers.map(({ ok }) => ok))).toEqual(new Set([true]))
  expect(issuer.asked).toBe(2)
})

test('an issuer that is away: 503 without keys, asked once in 5 s; known keys go on for an hour', async () => {
  const { clock, issuer, admit } = await gateway()
  issuer.instead = { status: 500, body: '' }
  const token = issuer.token(CLAIMS)
  for (let nth = 0; nth < 20; nth++) expect(await admit(token)).toEqual(UNAVAILABLE)
  expect(issuer.asked).toBe(1)
  const wrong = [
    { status: 200, body: '<html>' },
    { status: 200, body: 'null' },
    { status: 200, body: '{"keys":{}}' },
    { status: 200, body: `{"keys":[],"x":"${'x'.repeat(300_000)}"}` },
    { status: 302, body: '', location: issuer.url },
  ]
  for (const [nth, instead] of wrong.entries()) {
    issuer.instead = instead
    clock.advance(5_000)
    expect([instead, await admit(token)]).toEqual([instead, UNAVAILABLE])
    expect(issuer.asked).toBe(2 + nth)
  }
  issuer.instead = null
  clock.advance(5_000)
  expect(await admit(token)).toMatchObject({ ok: true })
  issuer.instead = { status: 500, body: '' }
  const lasting = issuer.token({ ...CLAIMS, exp: NOW + 90_000 })
  clock.advance(3_599_999)
  expect(await admit(lasting)).toMatchObject({ ok: true })
  clock.advance(1)
  expect(await admit(lasting)).toEqual(UNAVAILABLE)
})

test('configuration: all of it or nothing, https, and no algorithm with a shared secret', () => {
  const whole = {
    MILLRACE_JWT_ISSUER: 'https://a.test',
    MILLRACE_JWT_AUDIENCE: 'b',
    MILLRACE_JWT_JWKS_URL: 'https://a.test/keys',
  }
  expect(jwtSettings(readConfig(ACCESS, {}))).toBe(null)
  expect(jwtSettings(readConfig(ACCESS, { ...whole, MILLRACE_JWT_ALGORITHMS: 'ES256, EdDSA' }))).toEqual({
    ...{ issuer: 'https://a.test', audience: 'b', algorithms: ['ES256', 'EdDSA'], jwksUrl: 'https://a.test/keys' },
    ...{ tenantClaim: 'tenant', scopePrefix: 'millrace:' },
  })
  for (const name of Object.keys(whole)) {
    expect(() => jwtSettings(readConfig(ACCESS, { ...whole, [name]: undefined }))).toThrow(/go together/)
  }
  for (const algorithms of ['HS256', 'none', 'RS256,HS512', ',']) {
    expect(() => readConfig(ACCESS, { ...whole, MILLRACE_JWT_ALGORITHMS: algorithms })).toThrow(/ALGORITHMS/)
  }
  for (const url of ['http://a.test/keys', 'file:///keys', 'keys']) {
    expect(() => readConfig(ACCESS, { ...whole, MILLRACE_JWT_JWKS_URL: url })).toThrow(/must be an https URL/)
  }
})
