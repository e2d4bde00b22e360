import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, kafkaConfig, readConfig } from '../../infra/runtime/config.ts'
import { checkBrokers } from '../../infra/runtime/kafka/connections/check-brokers.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { createKafkaClient, type KafkaConfig } from '../../infra/runtime/kafka/kafka-client.ts'
import { metadataRequest } from '../../infra/runtime/kafka/protocol/metadata.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { type Certificates, makeCertificates } from '../support/certificates.ts'
import { type KafkaCluster, startKafkaCluster } from '../support/kafka-broker.ts'

const PASSWORD = 'alice-secret'
/** A fifth of it is left when it is renewed: more than a busy machine holds up a request that is on its way. */
const SESSION_MS = 4_000
let certificates: Certificates
let cluster: KafkaCluster

beforeAll(async () => {
  certificates = await makeCertificates()
  const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="${PASSWORD}";`
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
  const oauth =
    'org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
  cluster = await startKafkaCluster({
    listeners: { TLS: 'SSL', MUTUAL: 'SSL', SASL: 'SASL_SSL', OAUTH: 'SASL_SSL', EXPIRING: 'SASL_PLAINTEXT' },
    settings: {
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': certificates.serverFile,
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': certificates.caFile,
      'listener.name.mutual.ssl.client.auth': 'required',
      'listener.name.sasl.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
      'listener.name.sasl.plain.sasl.jaas.config': plain,
      'listener.name.sasl.scram-sha-256.sasl.jaas.config': scram,
      'listener.name.sasl.scram-sha-512.sasl.jaas.config': scram,
      'listener.name.oauth.sasl.enabled.mechanisms': 'OAUTHBEARER',
      'listener.name.oauth.oauthbearer.sasl.jaas.config': oauth,
      'listener.name.expiring.sasl.enabled.mechanisms': 'PLAIN',
      'listener.name.expiring.plain.sasl.jaas.config': plain,
      'listener.name.expiring.plain.connections.max.reauth.ms': String(SESSION_MS),
    },
    format: ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=alice,password="${PASSWORD}"]`,
    ]),
  })
})
afterAll(async () => {
  await cluster?.stop()
  certificates?.remove()
})

function connect(listener: string, config: Omit<KafkaConfig, 'brokers'>): KafkaConnections {
  const connections = createKafkaConnections({
    config: { brokers: [`127.0.0.1:${cluster.brokers[0]?.ports[listener]}`], ...config },
    clientId: 'security-test',
    logger: silentLogger,
    clock: systemClock,
  })
  onTestFinished(() => connections.close())
  return connections
}

async function isServed(connections: KafkaConnections): Promise<void> {
  expect(await checkBrokers(connections)).toEqual({
    brokers: 1,
    version: expect.stringMatching(/^Kafka 4\.\d+ or newer$/),
  })
}

const refused = (message: RegExp) =>
  expect.objectContaining({ code: 'kafka_refused', fate: 'crash', message: expect.stringMatching(message) })

/** Unsigned (RFC 7515, A.5): what the broker's own validator for development takes. */
function token(lifetimeS: number): string {
  const nowS = Math.floor(Date.now() / 1000)
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  return `${part({ alg: 'none' })}.${part({ sub: 'alice', iat: nowS, exp: nowS + lifetimeS })}.`
}

test('a plain listener, and one with TLS by our own CA', async () => {
  await isServed(connect('PLAINTEXT', {}))
  await isServed(connect('TLS', { tls: { ca: certificates.ca } }))
})

test('a CA that did not sign the broker is refused by name, before anything is sent', async () => {
  await expect(connect('TLS', { tls: { ca: certificates.otherCa } }).topics([])).rejects.toEqual(
    refused(/self-signed certificate.*|unable to (get|verify).*/),
  )
  await expect(connect('TLS', { tls: {} }).topics([])).rejects.toEqual(refused(/\((SELF_SIGNED|UNABLE_TO)/))
})

test('TLS spoken to a plain listener is refused', async () => {
  await expect(connect('PLAINTEXT', { tls: { ca: certificates.ca } }).topics([])).rejects.toMatchObject({
    code: expect.stringMatching(/^kafka_(refused|unavailable)$/),
  })
})

test('a listener that wants a client certificate lets us in with it, and not without', async () => {
  const { ca, client } = certificates
  await isServed(connect('MUTUAL', { tls: { ca, ...client } }))
  await expect(connect('MUTUAL', { tls: { ca } }).topics([])).rejects.toEqual(refused(/certificate/))
})

test.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)('SASL %s, right and wrong', async (mechanism) => {
  const tls = { ca: certificates.ca }
  await isServed(connect('SASL', { tls, sasl: { mechanism, username: 'alice', password: PASSWORD } }))
  const wrong = connect('SASL', { tls, sasl: { mechanism, username: 'alice', password: 'guess' } })
  const failure = await wrong.topics([]).catch((error: Error) => error)
  expect(failure).toEqual(refused(/[Aa]uthentication failed/))
  expect(String(failure)).not.toContain('guess')
})

test('a mechanism that the listener does not have is refused', async () => {
  const sasl = { mechanism: 'scram-sha-256', username: 'alice', password: PASSWORD } as const
  await expect(connect('OAUTH', { tls: { ca: certificates.ca }, sasl }).topics([])).rejects.toEqual(
    refused(/mechanism is not supported|does not support/),
  )
})

test('OAUTHBEARER: the token file is read at each authentication, and a refused token is said to be refused', async () => {
  const tls = { ca: certificates.ca }
  const tokenFile = path.join(path.dirname(certificates.caFile), 'token')
  const sasl = { mechanism: 'oauthbearer', tokenFile } as const
  await expect(connect('OAUTH', { tls, sasl }).topics([])).rejects.toEqual(refused(/OAuth token file/))
  writeFileSync(tokenFile, token(-600))
  await expect(connect('OAUTH', { tls, sasl }).topics([])).rejects.toEqual(refused(/the token is refused/))
  writeFileSync(tokenFile, `${token(600)}\n`)
  await isServed(connect('OAUTH', { tls, sasl }))

  const brokers = [`127.0.0.1:${cluster.brokers[0]?.ports['OAUTH']}`]
  const admin = createKafkaClient({ brokers, tls, sasl }, 'security-test', silentLogger).native.admin()
  await admin.connect()
  expect(Array.isArray(await admin.listTopics())).toBe(true)
  await admin.disconnect()
})

test('OAUTHBEARER: the token comes from an endpoint for client credentials', async () => {
  const asked: (string | undefined)[] = []
  const server = createServer((request, response) => {
    asked.push(request.headers.authorization)
    const right = request.headers.authorization === `Basic ${btoa('me:s%3Acret')}`
    response.writeHead(right ? 200 : 401).end(right ? JSON.stringify({ access_token: token(600) }) : '')
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  const env = {
    KAFKA_BROKERS: `127.0.0.1:${cluster.brokers[0]?.ports['OAUTH']}`,
    KAFKA_TLS: 'true',
    KAFKA_TLS_CA_FILE: certificates.caFile,
    KAFKA_SASL_MECHANISM: 'oauthbearer',
    KAFKA_SASL_OAUTH_TOKEN_URL: `http://127.0.0.1:${port}/token`,
    KAFKA_SASL_OAUTH_CLIENT_ID: 'me',
    KAFKA_SASL_OAUTH_CLIENT_SECRET: 's:cret',
  }
  await isServed(connect('OAUTH', kafkaConfig(readConfig(CONNECTIONS, env))))
  expect(asked.length).toBeGreaterThan(0)
  const wrong = kafkaConfig(readConfig(CONNECTIONS, { ...env, KAFKA_SASL_OAUTH_CLIENT_SECRET: 'guess' }))
  await expect(connect('OAUTH', wrong).topics([])).rejects.toEqual(refused(/token endpoint answers 401/))
})

test('a session that ends is renewed before it does: no request fails', async () => {
  const sasl = { mechanism: 'plain', username: 'alice', password: PASSWORD } as const
  const connections = connect('EXPIRING', { sasl })
  const until = performance.now() + 3 * SESSION_MS
  let answered = 0
  for (; performance.now() < until; answered++) {
    // to a node, which is not tried again elsewhere
    await Promise.all([1, 2, 3].map(() => connections.send(1, 'control', metadataRequest([]))))
  }
  expect(answered).toBeGreaterThan(3)
})
