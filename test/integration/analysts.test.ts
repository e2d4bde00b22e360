import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { driftViews } from '../../schemas/clickhouse/drift-views.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { exportTrainingSet } from '../../sinks/commands/export.ts'
import { writeReport } from '../../sinks/commands/report.ts'
import { copyFile } from '../../sinks/drift/profiles/reference-file.ts'
import { REFERENCE_COLUMNS, withScratchTable } from '../../sinks/drift/profiles/reference-rows.ts'
import { emptyDatabase, migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { FLIGHTS, FLIGHTS_END, plantFlights } from '../support/flights-year.ts'
import { filledIn, readDashboard } from '../support/grafana-dashboard.ts'

// What an analyst has: views, the cookbook's queries, a training set; on five months of flights with known changes.

let database: TestDatabase
let pipeline: CompiledPipeline
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'millrace-analysts-'))
  database = await migratedDatabase()
  pipeline = await plantFlights(database.client)
}, 300_000)
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  await database?.drop()
})

const env = (): NodeJS.ProcessEnv => ({ ...inject('stack').env, CLICKHOUSE_DATABASE: database.name })

test('every view and every column of it says what it is', async () => {
  const views = driftViews(pipeline)
  const silentOf = (table: string): string =>
    `database = currentDatabase() AND comment = '' AND has({views:Array(String)}, ${table})`
  const silent = await database.client.rows(
    `SELECT table, name FROM system.columns WHERE ${silentOf('table')}
     UNION ALL SELECT name, '' FROM system.tables WHERE ${silentOf('name')}`,
    { views: views.map(({ name }) => name) },
  )
  expect(silent).toEqual([])
  for (const { name } of views) {
    const [row] = await database.client.rows(`SELECT * FROM ${name} LIMIT 1`)
    expect(row, name).toBeDefined()
  }
})

interface Recipe {
  readonly title: string
  readonly sql: string
}

const BOOK = readFileSync(path.resolve('sinks/drift/COOKBOOK.md'), 'utf8')
const RECIPES: readonly Recipe[] = [...BOOK.matchAll(/^## (.+)\n\n```sql\n([\s\S]*?)```\n\n\S/gm)].map(
  ([, title, sql]) => ({
    title: title ?? '',
    sql: sql ?? '',
  }),
)

type Row = Readonly<Record<string, unknown>>

function answer(title: string): Promise<readonly Row[]> {
  const recipe = RECIPES.find((each) => each.title.includes(title))
  if (recipe === undefined) throw new Error(`there is no recipe "${title}"`)
  return database.client.rows<Row>(recipe.sql)
}

test('each recipe of the cookbook is a question, a query and a meaning, and runs', async () => {
  expect(RECIPES).toHaveLength(BOOK.split('\n## ').length - 1)
  expect(RECIPES.length).toBeGreaterThanOrEqual(15)
  for (const { title, sql } of RECIPES) {
    const rows = await database.client.rows(sql)
    expect(rows.length, title).toBeGreaterThan(0)
  }
})

test('what has drifted is what was planted, since when it was', async () => {
  const now = await answer('What has drifted?')
  const drifted = now.filter((row) => row['model_version'] === '2').map((row) => row['feature'])
  expect(drifted.toSorted()).toEqual(expect.arrayContaining(['carrier', 'humid', 'score', 'temp']))
  expect(drifted).not.toContain('dep_delay')
  const since = await answer('Since when')
  expect(since.find((row) => row['feature'] === 'temp')).toMatchObject({ first: '2013-04-04 00:00:00' })
  const [worst] = await answer('Is it one segment')
  expect(worst).toMatchObject({ segment: '*', drift: true })
})

test('scores can be computed again from the counts, and the counts add up to the predictions', async () => {
  const again = await answer('Is the PSI right?')
  expect(again).toHaveLength(pipeline.features.length)
  for (const row of again) expect(row['psi']).toBeCloseTo(row['stored_psi'] as number, 10)
  const panes = await answer('Do the panes add up?')
  expect(panes.map((row) => [row['predictions'], row['in_panes'], row['days_that_differ']])).toEqual(
    panes.map((row) => [row['predictions'], row['predictions'], '0']),
  )
  const [auc] = await answer('AUC of any time')
  const [stored] = await database.client.rows<{ low: number; high: number }>(
    `SELECT min(low) AS low, max(high) AS high FROM flights_quality_by_lag
     WHERE metric = 'auc' AND known_after_hours = 24 AND segment = '*' AND window_start >= '2013-04-01' AND window_end <= '2013-05-02'`,
  )
  expect(auc?.['auc']).toBeGreaterThan(stored?.low ?? 1)
  expect(auc?.['auc']).toBeLessThan(stored?.high ?? 0)
})

const WINDOW = { from: Date.UTC(2013, 3, 1), to: Date.UTC(2013, 4, 20) }
const fileHash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex')

test('a training set is the same bytes each time, and says what it is', async () => {
  const options = { ...WINDOW, folder: FLIGHTS, knownAt: Date.UTC(2014, 0), labelled: false }
  const first = path.join(folder, 'first.parquet')
  const again = path.join(folder, 'again.parquet')
  const manifest = await exportTrainingSet({ ...options, out: first }, env())
  // stored once more, and in other parts
  await database.client.command(`INSERT INTO predictions SELECT * FROM predictions WHERE origin_offset % 7 = 0`)
  await exportTrainingSet({ ...options, out: again }, env())
  expect(fileHash(again)).toBe(fileHash(first))
  expect(JSON.parse(readFileSync(`${first}.json`, 'utf8'))).toEqual(manifest)
  expect(manifest).toMatchObject({
    rows: 49 * 400,
    sha256: fileHash(first),
    featureSet: pipeline.featureSet.digest,
    modelVersions: ['1', '2'],
    rowsOfOtherFeatures: 0,
  })
  // the query is what made it
  const [told] = await database.client.rows(`SELECT toUInt32(count()) AS rows FROM (${manifest.query})`)
  expect(told).toEqual({ rows: manifest.rows })
})

test('a training set is read back as it was served, with the labels of its time', async () => {
  const out = path.join(folder, 'known.parquet')
  const knownAt = Date.UTC(2013, 3, 10)
  const { rows } = await exportTrainingSet({ ...WINDOW, folder: FLIGHTS, knownAt, labelled: true, out }, env())
  const reference = { file: out, score: 'score', label: 'label', segment: 'segment' }
  await withScratchTable(database.client, REFERENCE_COLUMNS, async (table) => {
    await copyFile(database.client, pipeline.features, reference, table)
    const sums = (from: string): string =>
      `SELECT toUInt32(count()) AS rows, sum(cityHash64(arrayMap(x -> if(isNaN(x), -1, x), features), score, segment)) AS hash, sum(label) AS positive FROM ${from}`
    const [read] = await database.client.rows(sums(table))
    const [served] = await database.client.rows(
      sums(`(
        SELECT features, score, toString(segment) AS segment, l.value AS label FROM predictions AS p FINAL
        INNER JOIN (SELECT * FROM labels FINAL) AS l USING (pipeline, tenant, event_id)
        WHERE event_time >= '2013-04-01' AND event_time < '2013-05-20' AND l.label_time <= '2013-04-10 00:00:00'
      )`),
    )
    expect(read).toEqual(served)
    expect(read).toMatchObject({ rows })
  })
})

test('a window without an end after its beginning is refused, and leaves no file', async () => {
  const out = path.join(folder, 'none.parquet')
  const options = { folder: FLIGHTS, from: WINDOW.to, to: WINDOW.from, knownAt: 0, labelled: false, out }
  await expect(exportTrainingSet(options, env())).rejects.toMatchObject({ code: 'invalid_option' })
})

test('without the tables, and without the views, it is said what to do, and there is no file', async () => {
  const out = path.join(folder, 'unmade.parquet')
  const asked = { folder: FLIGHTS, knownAt: 0, labelled: false, out }
  const page = { folder: FLIGHTS, windowMs: 86_400_000, to: WINDOW.to, out, now: Date.now() }
  const toMigrate = { code: 'not_migrated', message: expect.stringContaining(`run "millrace migrate ${FLIGHTS}"`) }
  const without = async (CLICKHOUSE_DATABASE: string) => {
    const elsewhere = { ...env(), CLICKHOUSE_DATABASE }
    await expect(writeReport(page, elsewhere)).rejects.toMatchObject(toMigrate)
    return exportTrainingSet({ ...WINDOW, ...asked }, elsewhere)
  }
  await expect(without('nowhere')).rejects.toMatchObject(toMigrate)
  const unmade = await emptyDatabase()
  try {
    await expect(without(unmade.name)).rejects.toMatchObject(toMigrate)
  } finally {
    await unmade.drop()
  }
  const tablesAlone = await migratedDatabase()
  try {
    expect(await without(tablesAlone.name)).toMatchObject({ rows: 0 })
    rmSync(out)
  } finally {
    await tablesAlone.drop()
  }
  expect(existsSync(out)).toBe(false)
})

test('a report is one file that shows what has drifted, since when, and how good the model is', async () => {
  const out = path.join(folder, 'report.html')
  const options = { folder: FLIGHTS, windowMs: 70 * 86_400_000, to: null, out, now: Date.now() }
  const report = await writeReport(options, env())
  expect(report).toMatchObject({ to: Date.UTC(2013, 4, 21), profile: 'winter', predictions: 70 * 400 })
  const page = readFileSync(out, 'utf8')
  expect(page).toContain('Compared with profile winter, 36,000 rows')
  expect(page).toContain('temp, window from 2013-04-11\ndrift, worst')
  expect(page).toContain('dep_delay, window from 2013-04-11\nno drift')
  expect(page).toContain('What makes the difference')
  for (const section of [
    'Scores',
    'Calibration',
    'Quality by time',
    'Quality by label lag',
    'Challengers',
    'Drift by segment',
  ]) {
    const [body = ''] = page.split(`<h2>${section}</h2>`)[1]?.split('</section>') ?? []
    expect(body, section).toMatch(/<svg|<table/)
  }
  expect(page).toContain('quality: &lt;auc&gt; 0.61')
})

test('a report of a time without predictions says so', async () => {
  const out = path.join(folder, 'empty.html')
  const options = { folder: FLIGHTS, windowMs: 86_400_000, to: Date.UTC(2010, 0), out, now: Date.now() }
  expect(await writeReport(options, env())).toMatchObject({ predictions: 0, profile: null })
  expect(readFileSync(out, 'utf8')).toContain('There are no predictions')
})

test('every query of the dashboard runs, and has something to show', async () => {
  const { panels, templating, annotations } = readDashboard()
  const time = { from: Date.UTC(2013, 0), to: FLIGHTS_END }
  const chosen: Record<string, string> = {}
  for (const { name, type, query } of templating.list) {
    if (type !== 'query') continue
    const choices = await database.client.rows<Record<string, string>>(filledIn(query, chosen, time))
    chosen[name] = Object.values(choices[0] ?? {})[0] ?? ''
  }
  expect(chosen).toEqual({ prefix: 'flights', segment: '*', metric: expect.stringMatching(/auc|accuracy/) })
  const targets = [
    ...panels.flatMap(({ title, targets: all }) => all.map(({ rawSql }) => ({ title, rawSql }))),
    ...annotations.list.map(({ name: title, target: { rawSql } }) => ({ title, rawSql })),
  ]
  for (const { title, rawSql } of targets) {
    const rows = await database.client.rows(filledIn(rawSql, chosen, time))
    expect(rows.length, title).toBeGreaterThan(0)
  }
})
