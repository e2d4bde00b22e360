import { createSign, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'

export type Json = Readonly<Record<string, unknown>>
type Pair = { readonly publicKey: KeyObject; readonly privateKey: KeyObject }

/** Who gives out tokens: its key set on a loopback port, and a hand that signs anything. Written without the library that is tested. */
export interface TokenIssuer {
  readonly url: string
  /** Key set requests so far. */
  asked: number
  /** What is answered instead of the key set; null = the key set. */
  instead: { readonly status: number; readonly body: string; readonly location?: string } | null
  /** Public keys by kid, as they are served. */
  readonly keys: Map<string, KeyObject>
  /** Signs with the key of the `kid` that was made for `alg`. */
  token(payload: Json, header?: Json): string
  add(kid: string, alg: Algorithm): void
  readonly pairs: ReadonlyMap<string, Pair>
}

export type Algorithm = 'RS256' | 'ES256' | 'EdDSA'

export async function startTokenIssuer(): Promise<Started<TokenIssuer>> {
  const pairs = new Map<string, Pair>()
  const keys = new Map<string, KeyObject>()
  const server = createServer((_request, response) => {
    issuer.asked += 1
    const { status, body, location } = issuer.instead ?? { status: 200, body: JSON.stringify(keySet(keys)) }
    response.writeHead(status, location === undefined ? {} : { location }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer: TokenIssuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    ...{ asked: 0, instead: null, keys, pairs },
    add(kid, alg) {
      const pair = makePair(alg)
      pairs.set(kid, pair)
      keys.set(kid, pair.publicKey)
    },
    token(payload, header = {}) {
      const whole = { alg: 'RS256', kid: 'rs', ...header }
      const pair = pairs.get(String(whole.kid)) ?? pairs.get('rs')
      if (pair === undefined) throw new Error('no key')
      return signed(whole, payload, (text) => signature(whole.alg as Algorithm, text, pair.privateKey))
    },
  }
  return {
    value: issuer,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** A token with any header and any signature. */
export function signed(header: Json, payload: Json, signatureOf: (text: string) => Buffer): string {
  const text = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${text}.${signatureOf(text).toString('base64url')}`
}

function keySet(keys: ReadonlyMap<string, KeyObject>): object {
  return { keys: [...keys].map(([kid, key]) => ({ ...key.export({ format: 'jwk' }), kid, use: 'sig' })) }
}

function makePair(alg: Algorithm): Pair {
  if (alg === 'RS256') return generateKeyPairSync('rsa', { modulusLength: 2_048 })
  if (alg === 'ES256') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return generateKeyPairSync('ed25519')
}

function signature(alg: Algorithm, text: string, key: KeyObject): Buffer {
  if (alg === 'EdDSA') return sign(null, Buffer.from(text), key)
  const signer = createSign('SHA256').update(text)
  return alg === 'RS256' ? signer.sign(key) : signer.sign({ key, dsaEncoding: 'ieee-p1363' })
}
