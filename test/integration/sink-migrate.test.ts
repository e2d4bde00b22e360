import { expect, inject, test } from 'vitest'
import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { migratePipeline } from '../../sinks/commands/migrate.ts'
import { uniqueName } from '../support/unique-name.ts'

const VIEWS = [
  ...[
    'predictions',
    'quality',
    'versions',
    'rollout',
    'profiles',
    'drift',
    'drift_now',
    'drift_reasons',
    'panes',
    'bins',
  ],
  ...['quality_over_time', 'quality_by_lag', 'outcomes', 'challengers', 'alerts', 'alerts_now'],
].map((name) => `flights_${name}`)

test('migrate makes the database, its tables and the views of the pipeline, and can be repeated', async () => {
  const database = uniqueName('migrate')
  const connections = readConfig(CONNECTIONS, { ...inject('stack').env, CLICKHOUSE_DATABASE: database })
  const first = await migratePipeline('infra/sample/flights', connections)
  expect(first.applied).toContain('0001_predictions.sql')
  expect(first.views).toEqual(VIEWS)
  expect(await migratePipeline('infra/sample/flights', connections)).toEqual({
    applied: [],
    views: first.views,
    kept: [],
  })

  const client = createClickHouse({
    url: connections.clickhouseUrl,
    user: connections.clickhouseUser,
    password: connections.clickhousePassword,
    database,
    requestTimeoutMs: 30_000,
    maxConnections: 1,
  })
  expect(await client.rows('SELECT carrier, carrier_code, dep_delay FROM flights_predictions')).toEqual([])
  expect(await client.rows('SELECT score, label_value, correct FROM flights_quality')).toEqual([])
  await client.command(`DROP DATABASE \`${database}\``)
  await client.close()
})
