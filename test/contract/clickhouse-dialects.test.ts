import { afterAll, expect, test } from 'vitest'
import { analystStatements, tenantTables } from '../../schemas/clickhouse/analyst.ts'
import { readMigrations } from '../../schemas/clickhouse/migrate.ts'
import { keptDaysOf, parseRetention, retentionStatements } from '../../schemas/clickhouse/retention.ts'
import { migrationStatements } from '../../sinks/commands/migrate.ts'
import { migratedDatabase } from '../support/clickhouse-database.ts'

// What `millrace migrate` says beside plain DDL, read by ClickHouse's own parser, and carried out where the local engine can.

const database = await migratedDatabase()
afterAll(() => database.drop())

const migrations = readMigrations()
const FLIGHTS = 'infra/sample/flights'
const analyst = { name: "o'hara`s", password: 'correct horse', tenant: null }

/** A statement as the server understands it, on one line; rejects when it does not. */
async function parsed(sql: string): Promise<string> {
  const [row] = await database.client.rows<{ sql: string }>('SELECT formatQuerySingleLine({sql:String}) AS sql', {
    sql,
  })
  return row?.sql ?? ''
}

async function statementsOf(options: Partial<Parameters<typeof migrationStatements>[2]>): Promise<readonly string[]> {
  const plain = { cluster: null, keep: [], analyst: null }
  const statements = await migrationStatements(FLIGHTS, 'prod', { ...plain, ...options })
  return await Promise.all(statements.map(parsed))
}

test('for a cluster every statement is for all of its servers, and every table is replicated', async () => {
  const keep = [parseRetention('predictions=90d')]
  const plain = await statementsOf({ keep, analyst })
  const clustered = await statementsOf({ keep, analyst, cluster: 'main' })
  expect(clustered).toHaveLength(plain.length)
  expect(plain.join('\n')).not.toMatch(/ON CLUSTER|Replicated/)
  for (const sql of clustered) if (!sql.startsWith('USE')) expect(sql).toMatch(/ON CLUSTER `?main`?/)
  const tables = clustered.filter((sql) => sql.startsWith('CREATE TABLE'))
  expect(tables.length).toBeGreaterThan(12)
  for (const sql of tables) {
    expect(sql).toMatch(/ENGINE = Replicated\w*MergeTree\('\/clickhouse\/tables\/\{uuid\}\/\{shard\}', '\{replica\}'/)
  }
  expect(clustered.join('\n')).not.toContain('non_replicated')
  // what sets a row against another is still there
  expect(tables.find((sql) => sql.includes(' predictions '))).toContain("'{replica}', earliest)")
})

test('an analyst reads and does nothing else, and the password goes nowhere', async () => {
  const scope = { database: 'prod', migrations, views: ['flights_predictions'], cluster: null }
  const all = await Promise.all(analystStatements(analyst, scope).map(parsed))
  expect(all.join('\n')).not.toContain(analyst.password)
  expect(all[0]).toMatch(/^CREATE USER OR REPLACE .*sha256_hash.* SETTINGS readonly = 2$/)
  expect(all.filter((sql) => sql.startsWith('GRANT'))).toEqual([expect.stringContaining('GRANT SELECT ON prod.* TO ')])
  expect(all.at(-1)).toContain('REVOKE SELECT ON prod.control_log FROM ')

  const one = await Promise.all(analystStatements({ ...analyst, tenant: "d'oro" }, scope).map(parsed))
  const granted = one.flatMap((sql) => /^GRANT SELECT ON prod\.(\w+)/.exec(sql)?.[1] ?? [])
  const tables = tenantTables(migrations)
  expect(granted).toEqual([...tables, 'flights_predictions'])
  const restrictive = one.filter((sql) => /ROW POLICY.* AS restrictive.*tenant = 'd\\'oro'/i.test(sql))
  expect(restrictive).toHaveLength(tables.length)
})

test('tables with a tenant are those that have the column', async () => {
  const found = await database.client.rows<{ table: string }>(
    `SELECT DISTINCT c.table AS table FROM system.columns AS c INNER JOIN system.tables AS t ON t.database = c.database AND t.name = c.table
     WHERE c.database = currentDatabase() AND c.name = 'tenant' AND t.engine LIKE '%MergeTree' ORDER BY table`,
  )
  expect(tenantTables(migrations).toSorted()).toEqual(found.map(({ table }) => table))
})

const engineOf = async (name: string): Promise<string> => {
  const [row] = await database.client.rows<{ engine: string }>(
    'SELECT engine_full AS engine FROM system.tables WHERE database = currentDatabase() AND name = {name:String}',
    { name },
  )
  return row?.engine ?? ''
}

test.each([
  'predictions',
  'shadow_predictions',
  'labels',
  'dead_letters',
  'stage_metrics',
  'gateway_requests',
  'alerts',
  'backfill_predictions',
])('rows of %s are kept for as long as said, by when they came in, and for ever again', async (table) => {
  for (const text of [`${table}=400d`, `${table}=500d`, `${table}=forever`]) {
    const retention = parseRetention(text)
    for (const sql of retentionStatements(retention, keptDaysOf(await engineOf(table))))
      await database.client.command(sql)
    expect(keptDaysOf(await engineOf(table))).toBe(retention.days)
    expect(retentionStatements(retention, keptDaysOf(await engineOf(table)))).toEqual([])
  }
})

test('an event of long ago that comes in now is kept, and what came in long ago goes', async () => {
  for (const sql of retentionStatements(parseRetention('labels=8d'), null)) await database.client.command(sql)
  const row = (id: string, written: number) => ({ event_id: id, label_time: Date.UTC(2013, 0, 1), written_at: written })
  const days = (count: number): number => Date.now() - count * 86_400_000
  await database.client.insert(
    'labels',
    ['event_id', 'label_time', 'written_at'],
    [row('new', days(7)), row('old', days(9))],
  )
  await database.client.command('OPTIMIZE TABLE labels FINAL')
  expect(await database.client.rows('SELECT event_id FROM labels')).toEqual([{ event_id: 'new' }])
})

test('rows of a backfill go by when they were scored, whatever they are of', async () => {
  const retention = parseRetention('backfill_predictions=30d')
  for (const sql of retentionStatements(retention, null)) await database.client.command(sql)
  const days = (count: number): number => Date.now() - count * 86_400_000
  const row = (run: string, scored: number) => ({ pipeline: 'p', run, event_time: days(4_000), scored_at: scored })
  await database.client.insert(
    'backfill_predictions',
    ['pipeline', 'run', 'event_time', 'scored_at'],
    [row('new', days(29)), row('old', days(31))],
  )
  await database.client.command('OPTIMIZE TABLE backfill_predictions FINAL')
  expect(await database.client.rows('SELECT run FROM backfill_predictions')).toEqual([{ run: 'new' }])
})

test.each([
  ['predictions=7d', /8 to 10950 days.*vanish/],
  // it would end in 1990
  ['predictions=36500d', /8 to 10950 days, as in predictions=90d, or forever$/],
  ['backfill_predictions=1d', /2 to/],
  ['dead_letters=30d', /31 to/],
  ['predictions=90', /90d/],
  ['control_log=90d', /<table>=<days>d/],
  ['toString=90d', /<table>=<days>d/],
  ['predictions', /<table>=<days>d/],
])('%s is refused', (text, message) => {
  expect(() => parseRetention(text)).toThrow(message)
})
