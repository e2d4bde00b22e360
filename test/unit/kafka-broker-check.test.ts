import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { checkBrokers } from '../../infra/runtime/kafka/connections/check-brokers.ts'
import { NEEDED_APIS } from '../../infra/runtime/kafka/connections/needed-apis.ts'
import { wireWriter } from '../../infra/runtime/kafka/protocol/wire.ts'
import { API, type AskedRequest, apiVersionsAnswer, type FakeAnswer } from '../support/fake-broker.ts'
import { answeringBroker, connectTo } from '../support/fake-connections.ts'

test.each<[string, (request: AskedRequest) => FakeAnswer | undefined, string]>([
  [
    'Kafka 2.0',
    ({ apiVersion }) =>
      apiVersion === 3
        ? wireWriter()
            .int16(35)
            .array([18], (key, entry) => entry.int16(key).int16(0).int16(2))
            .end()
        : wireWriter()
            .int16(0)
            .array([3, 18], (key, entry) =>
              entry
                .int16(key)
                .int16(0)
                .int16(key === 3 ? 6 : 2),
            )
            .end(),
    'we send Metadata version 10, it takes 0 to 6; Kafka 2.8 is the oldest that has it',
  ],
  [
    'Kafka 2.7',
    () => apiVersionsAnswer({ 3: 9 }),
    'we send Metadata version 10, it takes 0 to 9; Kafka 2.8 is the oldest that has it',
  ],
])('%s is refused at start-up', async (_, versions, message) => {
  const broker = await answeringBroker((request) =>
    request.apiKey === API.apiVersions ? versions(request) : undefined,
  )
  await expect(checkBrokers(connectTo(broker))).rejects.toMatchObject({
    code: 'kafka_too_old',
    fate: 'crash',
    message: expect.stringContaining(message),
  })
})

test('the check names the oldest version that the answers allow', async () => {
  const broker = await answeringBroker((request) =>
    request.apiKey === API.apiVersions ? apiVersionsAnswer({}, 21) : undefined,
  )
  expect(await checkBrokers(connectTo(broker))).toEqual({ brokers: 1, version: 'Kafka 3.9 or newer' })
  const untold = await answeringBroker((request) =>
    request.apiKey === API.apiVersions ? apiVersionsAnswer({ 1: 12 }) : undefined,
  )
  expect(await checkBrokers(connectTo(untold))).toEqual({ brokers: 1, version: 'Kafka 2.7 or newer' })
})

test('the start-up check asks for every request that we send, in the version that we send', () => {
  const folder = path.resolve(import.meta.dirname, '../../infra/runtime/kafka/protocol')
  const texts = globSync('*.ts', { cwd: folder }).map((file) => readFileSync(path.join(folder, file), 'utf8'))
  const sent = texts.flatMap((text) => {
    const found = [...text.matchAll(/apiKey: (\d+),\s+apiVersion: (\d+),\s+name: '(\w+)'/g)]
    expect(found).toHaveLength(text.match(/apiKey: [^n]/g)?.length ?? 0)
    return found.map(([, key, version, name]) => ({ name, key: Number(key), version: Number(version) }))
  })
  // version 0 is asked only of a broker that is refused
  const needed = sent.filter(({ key, version }) => !(key === API.apiVersions && version === 0))
  expect(needed.sort((left, right) => left.key - right.key)).toEqual(NEEDED_APIS.map(({ since, ...api }) => api))
})
