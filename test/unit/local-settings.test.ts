import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { freePorts, requireFreePorts } from '../../infra/local/ports.ts'
import { readStackSettings } from '../../infra/local/settings.ts'

test('everything has a default', () => {
  const settings = readStackSettings({})
  expect(settings.ports).toEqual({
    kafka: 9092,
    'kafka-controller': 9093,
    registry: 8081,
    redis: 6379,
    clickhouse: 8123,
  })
  expect([settings.dataDir, settings.logDir]).toEqual([resolve('.millrace/data'), resolve('.millrace/logs')])
  expect(settings.external).toEqual({})
})

test('variables move ports and data, and replace components', () => {
  const settings = readStackSettings({
    MILLRACE_DATA: '/tmp/x',
    MILLRACE_REDIS_PORT: '7000',
    KAFKA_BROKERS: 'a:1',
    REDIS_URL: '',
  })
  expect(settings).toMatchObject({ home: '/tmp/x', dataDir: '/tmp/x/data', ports: { redis: 7000 } })
  expect(settings.external).toEqual({ kafka: 'a:1' })
})

test.each(['0', '65536', 'http', '1.5'])('a port %s is refused by the name of its variable', (value) => {
  expect(() => readStackSettings({ MILLRACE_KAFKA_PORT: value })).toThrow('MILLRACE_KAFKA_PORT must be a port number')
})

test('free ports are different, and free', async () => {
  const ports = await freePorts(5)
  expect(new Set(ports).size).toBe(5)
  await requireFreePorts(ports.map((port) => ({ port, owner: 'x', variable: 'X' })))
})
