import { expect, test } from 'vitest'
import { backoffMs } from '../../infra/runtime/backoff.ts'
import { CONNECTIONS, kafkaConfig, readConfig, STAGE } from '../../infra/runtime/config.ts'
import { fatal, fateOf, rejected, retryable } from '../../infra/runtime/errors.ts'
import { kafkaError } from '../../infra/runtime/kafka/kafka-errors.ts'
import { murmur2, partitionOfKey } from '../../infra/runtime/kafka/partitioner.ts'
import { metadataRequest } from '../../infra/runtime/kafka/protocol/metadata.ts'
import { createScope } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { formatRequestId, parseRequestId } from '../../schemas/request-id.ts'

test('every error has one fate, and what is unknown crashes', () => {
  expect([retryable('a', 'b'), rejected('a', 'b'), fatal('a', 'b'), new Error('x'), 'text'].map(fateOf)).toEqual([
    'retry',
    'reject',
    'crash',
    'crash',
    'crash',
  ])
})

test('an error that kafkajs does not own crashes, one of ours passes through', () => {
  expect(kafkaError(new TypeError('x'), 'w').fate).toBe('crash')
  const own = retryable('a', 'b')
  expect(kafkaError(own, 'w')).toBe(own)
})

test('back-off doubles up to its ceiling and keeps half of it as a floor', () => {
  const backoff = { baseMs: 100, maxMs: 1_000 }
  expect([0, 1, 2, 3, 9].map((attempt) => backoffMs(backoff, attempt, () => 0))).toEqual([50, 100, 200, 400, 500])
  expect(backoffMs(backoff, 1_000, () => 1)).toBe(1_000)
})

// known answers of org.apache.kafka.common.utils.Utils.murmur2 (UtilsTest)
test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
])('murmur2 of %s is that of the Java client', (text, hash) => {
  expect(murmur2(Buffer.from(text))).toBe(hash)
})

test('the partition of a key is never negative', () => {
  expect(partitionOfKey(Buffer.from('21'), 7)).toBe((-973932308 & 0x7fffffff) % 7)
})

test('the metadata request asks for names by version 10, and its answer gives the topic ids', () => {
  expect(metadataRequest(['ab']).body.toString('hex')).toBe(`00${'02'}${'00'.repeat(16)}0361620000000000`)
  const answer = Buffer.concat([
    Buffer.from('00', 'hex'), // header tags
    Buffer.from('00000000', 'hex'), // throttle
    Buffer.from('02' + '00000001' + '0268' + '00002384' + '00' + '00', 'hex'), // one broker, host "h", null rack
    Buffer.from('00' + '00000001', 'hex'), // no cluster id, controller
    Buffer.from('02' + '0000' + '036162' + '000102030405060708090a0b0c0d0e0f' + '00', 'hex'), // topic "ab"
    Buffer.from('02' + '0000' + '00000000' + '00000001' + '00000005', 'hex'), // one partition
    Buffer.from('0200000001' + '0200000001' + '01' + '00', 'hex'), // replicas, isr, offline, tags
    Buffer.from('80000000' + '00' + '80000000' + '00', 'hex'),
  ])
  const partitions = [{ partition: 0, leader: 1, leaderEpoch: 5, replicas: [1], inSync: [1] }]
  expect(metadataRequest([]).decode(answer)).toEqual({
    brokers: [{ node: 1, host: 'h', port: 9092 }],
    topics: [{ error: null, topic: { name: 'ab', id: '00010203-0405-0607-0809-0a0b0c0d0e0f', partitions } }],
  })
})

test('configuration is refused as a whole, each line naming its variable', () => {
  const env = { MILLRACE_OPS_PORT: '70000', MILLRACE_LOG_LEVEL: 'loud' }
  expect(() => readConfig(STAGE, env)).toThrow(
    /MILLRACE_PIPELINE is not set.*\nMILLRACE_OPS_PORT must be from 0 to 65535\nMILLRACE_LOG_LEVEL /,
  )
})

test('an empty variable counts as unset, and a mechanism needs its user', () => {
  const config = readConfig(CONNECTIONS, { KAFKA_BROKERS: '', KAFKA_SASL_MECHANISM: 'plain' })
  expect(config.kafkaBrokers).toEqual(['127.0.0.1:9092'])
  expect(() => kafkaConfig(config)).toThrow('needs KAFKA_SASL_USERNAME')
})

test('a scope stops in reverse order, once, and goes on when a stop fails', async () => {
  const stopped: string[] = []
  const scope = createScope(silentLogger)
  for (const name of ['a', 'b', 'c']) {
    await scope.start(name, async () => ({
      value: name,
      stop: async () => {
        stopped.push(name)
        if (name === 'b') throw new Error('b will not stop')
      },
    }))
  }
  await Promise.all([scope.close(), scope.close()])
  expect(stopped).toEqual(['c', 'b', 'a'])
})

test('a request id holds its coordinates, and nothing else parses as one', () => {
  const text = formatRequestId('flights', Date.UTC(2013, 2, 15, 23, 59), 3, 18_211)
  expect(text).toBe('flights.20130315.3.18211')
  expect(parseRequestId(text)).toEqual({
    pipeline: 'flights',
    dayMs: Date.UTC(2013, 2, 15),
    partition: 3,
    offset: 18_211,
  })
  for (const wrong of [
    'flights.20130230.3.1',
    'flights.20130315.03.1',
    'Flights.20130315.3.1',
    'flights.20130315.3',
    '',
  ]) {
    expect(parseRequestId(wrong)).toBeNull()
  }
})

test('two different table keys never give one text', () => {
  expect(tableKeyText(['a|b', 'c'])).not.toBe(tableKeyText(['a', 'b|c']))
  expect(tableKeyText(['a%7Cb'])).not.toBe(tableKeyText(['a|b']))
  expect(tableKeyText(['EWR', 1363305600000])).toBe('EWR|1363305600000')
})
