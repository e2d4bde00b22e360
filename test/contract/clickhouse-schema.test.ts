import { afterAll, beforeAll, expect, test } from 'vitest'
import { MigrationError, migrate, readMigrations } from '../../schemas/clickhouse/migrate.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import { deadLetterRows } from '../../sinks/clickhouse/dead-letter-rows.ts'
import { emptyDatabase, migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { at, NOW, rowOf, storeLabel, storePredictions } from '../support/inserted-rows.ts'

// The tables on the real engine, filled through the sinks' own rows.

let database: TestDatabase

beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database?.drop())

test('migrations run once, and in any number of migrators at once', async () => {
  const fresh = await emptyDatabase()
  const migrations = readMigrations()
  const first = await Promise.all([
    migrate(fresh.client, migrations, Date.now),
    migrate(fresh.client, migrations, Date.now),
  ])
  expect(first.flat()).toEqual(expect.arrayContaining(migrations.map(({ name }) => name)))
  expect(await migrate(fresh.client, migrations, Date.now)).toEqual([])
  const tables = await fresh.client.rows<{ name: string }>(
    'SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name',
  )
  expect(tables.map(({ name }) => name)).toEqual([
    'alerts',
    'backfill_predictions',
    'backfill_progress',
    'backfill_runs',
    'control_log',
    'dead_letters',
    'drift_scores',
    'feature_panes',
    'feature_profiles',
    'gateway_latency',
    'gateway_requests',
    'gateway_usage',
    'labels',
    'moment_panes',
    'pane_progress',
    'performance_panes',
    'predictions',
    'quality_scores',
    'schema_migrations',
    'shadow_predictions',
    'stage_metrics',
  ])
  await fresh.drop()
})

test('a file that was changed after it was applied is refused by its name, and nothing is done', async () => {
  const changed = readMigrations().map((migration) =>
    migration.number === 2 ? { ...migration, sql: 'DROP TABLE labels', sha256: 'other' } : migration,
  )
  const later = { number: 99, name: '0099_x.sql', sql: 'CREATE TABLE x (a Int8) ENGINE = Memory', sha256: 'x' }
  const outcome = migrate(database.client, [...changed, later], Date.now)
  await expect(outcome).rejects.toThrow(MigrationError)
  await expect(outcome).rejects.toThrow('0002_labels.sql was changed after it was applied')
  expect(
    await database.client.rows("SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = 'x'"),
  ).toEqual([])
})

/** What is in them is computed of the others, and replaced as a whole. */
const COMPUTED = [
  'drift_scores',
  'feature_panes',
  'feature_profiles',
  'moment_panes',
  'pane_progress',
  'performance_panes',
  'quality_scores',
]

test('every table but those that are computed deduplicates inserts by token, and no row depends on when it was inserted', async () => {
  const tables = await database.client.rows<{ name: string; ddl: string }>(
    "SELECT name, create_table_query AS ddl FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'",
  )
  expect(tables).toHaveLength(12 + COMPUTED.length)
  for (const { name, ddl } of tables) {
    if (!COMPUTED.includes(name)) expect(ddl, name).toMatch(/non_replicated_deduplication_window = [1-9]/)
    expect(ddl, name).not.toMatch(/\bnow\w*\(/i)
    // by when it was written, never by when an event happened: history that is replayed would vanish
    for (const [, ttl] of ddl.matchAll(/\bTTL (.*)/gi)) expect(ttl, name).toMatch(/^toDateTime\(written_at\) \+/)
  }
})

test('a redelivered prediction is one row, the first written; two events with one id stay two', async () => {
  const pipeline = 'redelivery'
  await storePredictions(database, pipeline, [
    [10, { origin_offset: 1, score: 0.25 }],
    [11, { origin_offset: 2, score: 0.5 }],
  ])
  // the first event again: the same record, then scored anew by another model after a crash
  await storePredictions(database, pipeline, [[10, { origin_offset: 1, score: 0.25 }]])
  await storePredictions(database, pipeline, [
    [12, { origin_offset: 1, score: 0.75, model_version: '2', role: 'canary' }],
  ])
  await storePredictions(database, pipeline, [
    [13, { origin_offset: 1, score: 0.9, model_version: '2', role: 'shadow' }],
  ])
  const rows = await database.client.rows(
    `SELECT event_id, origin_offset, role, model_version, score FROM predictions FINAL
     WHERE pipeline = 'redelivery' ORDER BY origin_offset, kafka_offset`,
  )
  expect(rows).toEqual([
    { event_id: 'event-1', origin_offset: '1', role: 'primary', model_version: '1', score: 0.25 },
    { event_id: 'event-1', origin_offset: '1', role: 'shadow', model_version: '2', score: 0.9 },
    { event_id: 'event-1', origin_offset: '2', role: 'primary', model_version: '1', score: 0.5 },
  ])
})

test('of several labels the last written one counts, whatever the order of their inserts', async () => {
  for (const [offset, truth] of [
    [5, true],
    [9, false],
    [7, true],
  ] as const) {
    await storeLabel(database, 'labels-test', offset, { id: 'a', truth })
  }
  const rows = await database.client.rows(
    "SELECT event_id, kind, value, kafka_offset FROM labels FINAL WHERE pipeline = 'labels-test'",
  )
  expect(rows).toEqual([{ event_id: 'a', kind: 'boolean', value: 0, kafka_offset: '9' }])
})

test('a dead letter keeps its bytes', async () => {
  const bytes = Buffer.from([0, 255, 10, 10, 34])
  const letter: DeadLetter = {
    stage: 'processors',
    pipeline: 'letters',
    reason: 'undecodable',
    kind: 'rejected',
    message: 'no "end"\n',
    tenant: '',
    event_id: null,
    topic: 'letters.events',
    partition: 1,
    source_generation: 'g',
    source_offset: 4,
    origin_generation: '',
    origin_offset: -1,
    schema_id: null,
    key: null,
    value: bytes,
    headers: { trace: bytes },
    attempts: 1,
    failed_at: NOW,
    replay_of: null,
    original_bytes: null,
  }
  for (const offset of [1, 2]) {
    const row = rowOf(deadLetterRows.row(letter, at(offset), 0))
    await database.client.insert(deadLetterRows.table, Object.keys(deadLetterRows.types), [row])
  }
  const rows = await database.client.rows(
    `SELECT hex(value) AS value, hex(headers['trace']) AS trace, key, message, origin_offset, kafka_offset
     FROM dead_letters FINAL WHERE pipeline = 'letters'`,
  )
  const hex = '00FF0A0A22'
  expect(rows).toEqual([
    { value: hex, trace: hex, key: null, message: 'no "end"\n', origin_offset: '-1', kafka_offset: '1' },
  ])
})
