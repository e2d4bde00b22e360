import { once } from 'node:events'
import http from 'node:http'
import { expect, inject, test } from 'vitest'
import { revokeKey } from '../../ingest/commands/key-revoke.ts'
import { openEventStream } from '../support/event-stream-client.ts'
import { eventually } from '../support/eventually.ts'
import { startTestGateway } from '../support/gateway.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { streaming } from '../support/prediction-stream.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { startTokenIssuer } from '../support/token-issuer.ts'

// Streams whose client, or whose credential, is gone.

const { env } = inject('stack')
const DEADLINE = { deadlineMs: 60_000 }
/** Clocks may differ by so much: a token is good for that much longer. */
const LEEWAY_MS = 5_000
const REFUSED = { ok: false, status: 401, code: 'invalid_credential', detail: 'the credential is not valid' } as const
const UNKNOWN = { ok: false, status: 503, code: 'access_unavailable', detail: 'the gateway cannot tell' } as const

test('a client that has gone before its stream begins leaves nothing behind', async () => {
  const released = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  const before = () => {
    asked.resolve()
    return released.promise
  }
  const { url, app, counts } = await streaming(1, { before })
  const closed = new Promise((resolve) => app.server.once('connection', (socket) => socket.once('close', resolve)))
  const request = http.get(url, { headers: { authorization: 'Bearer mine' }, agent: false })
  const cut = once(request, 'error')
  await asked.promise
  request.destroy()
  await Promise.all([closed, cut])
  released.resolve()
  await eventually(() => expect(counts).toMatchObject({ opened: 1, subscribers: 0 }), DEADLINE)
})

test('a stream ends with its credential, others go on, and its position is good for the next one', async () => {
  const ended = new Map<string, typeof REFUSED | typeof UNKNOWN>()
  const { open, predict } = await streaming(1, {
    settings: { admitMs: 50 },
    admit: (tenant) => ended.get(tenant) ?? null,
  })
  const [mine, theirs] = [await open('mine'), await open('theirs')]
  await predict('mine', 2)
  await predict('theirs', 1)
  await mine.take(2)
  ended.set('mine', REFUSED)
  expect(await mine.next()).toMatchObject({ event: 'cut', data: { reason: 'credential_ended' } })
  expect(await mine.next()).toBe(null)
  expect((await open('mine', mine.lastId)).status).toBe(401)
  await predict('mine', 1)
  ended.delete('mine')
  const again = await open('mine', mine.lastId)
  expect((await again.take(1))[0]?.data['request_id']).toMatch(/\.3$/)

  expect(await theirs.take(1)).toHaveLength(1)
  ended.set('theirs', UNKNOWN)
  expect(await theirs.next()).toMatchObject({ event: 'cut', data: { reason: 'access_unavailable' } })
})

test('a key that is revoked and a token that is too old end their streams within seconds', async () => {
  const issuer = await startTokenIssuer()
  issuer.value.add('rs', 'RS256')
  const { folder } = copyPipeline(FLIGHTS)
  const { pipeline } = await runPipeline(folder, env, { start: false })
  const jwt = { iss: 'https://issuer.test', aud: 'millrace' }
  const variables = {
    MILLRACE_JWT_ISSUER: jwt.iss,
    MILLRACE_JWT_AUDIENCE: jwt.aud,
    MILLRACE_JWT_JWKS_URL: issuer.value.url,
  }
  const looks: { readonly credential: string; readonly at: number; readonly ok: boolean }[] = []
  const gateway = await startTestGateway(folder, { ...env, ...variables }, ({ access }) => ({
    access: {
      async admit(headers) {
        const at = Date.now()
        const admission = await access.admit(headers)
        looks.push({ credential: String(headers['authorization']).replace('Bearer ', ''), at, ok: admission.ok })
        return admission
      },
    },
  }))
  /** What was said of it when it was looked at after that time, epoch ms. */
  const saidOf = (credential: string, after: number) =>
    looks.filter((look) => look.credential === credential && look.at > after).map(({ ok }) => ok)
  const url = `${gateway.url}/v1/pipelines/${pipeline.name}/predictions/stream`
  const open = (credential: string) => openEventStream(url, { authorization: `Bearer ${credential}` })
  const [revoked, kept] = [await gateway.key(), await gateway.key()]
  const [byKey, byOther] = [await open(revoked), await open(kept)]
  const exp = Math.ceil(Date.now() / 1_000) + 2
  const token = issuer.value.token({ ...jwt, sub: 'someone', tenant: 'default', scope: 'millrace:read', exp })
  const byToken = await open(token)
  expect([byKey.status, byOther.status, byToken.status]).toEqual([200, 200, 200])
  await revokeKey(gateway.parts.control, revoked.split('_')[2] ?? '', { actor: 'test', reason: 'test' })
  const revokedAt = Date.now()
  const cut = { event: 'cut', data: { reason: 'credential_ended' } }
  // the first look after it has ended ends the stream, and there is one every few seconds
  expect(await byKey.next()).toMatchObject(cut)
  expect(saidOf(revoked, revokedAt)).toEqual([false])
  expect(Date.now() - revokedAt).toBeLessThan(30_000)
  expect(await byToken.next()).toMatchObject(cut)
  expect(saidOf(token, exp * 1_000 + LEEWAY_MS)).toEqual([false])
  expect(Date.now()).toBeLessThan(exp * 1_000 + LEEWAY_MS + 30_000)
  expect((await open(revoked)).status).toBe(401)
  expect((await open(token)).status).toBe(401)
  const next = byOther.next()
  byOther.close()
  expect(await next).toBe(null)
  await issuer.stop()
})
