import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { category, flag, number } from 'millrace'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import type { ReferenceProfile, SubjectProfile } from '../../schemas/control/profiles.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { compilePipeline } from '../../schemas/pipeline/load.ts'
import { buildProfile } from '../../sinks/drift/profiles/build-profile.ts'
import { digestOfProfile } from '../../sinks/drift/profiles/profile-entries.ts'
import { copyFile, type ReferenceFile, sourceOf } from '../../sinks/drift/profiles/reference-file.ts'
import { copyPredictions, REFERENCE_COLUMNS, withScratchTable } from '../../sinks/drift/profiles/reference-rows.ts'
import { storeProfile } from '../../sinks/drift/profiles/store-profile.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { sound, tripFolder } from '../support/trip-pipeline.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database.drop())

const FROM = Date.UTC(2013, 0, 1)
const TO = Date.UTC(2013, 0, 2)
const ROWS = 2_000
const CABINS = ['first', 'second', 'third']

let folder = ''
let pipeline: CompiledPipeline
beforeEach(() => {
  folder = tripFolder()
  const compiled = compilePipeline(folder, {
    ...sound,
    features: {
      km: number('km' as never),
      cabin: category('carrier' as never, CABINS, { unseen: -1 }),
      late: flag('late' as never, { missing: 0 }),
      constant: number('seats' as never),
      never: number('seats' as never),
    },
  })
  pipeline = { ...compiled, monitor: { ...compiled.monitor, minRows: 60 } }
})

/** The same for the same row: km is missing in each tenth, a cabin in each hundredth is none that the model knows. */
function featuresOf(row: number): readonly number[] {
  const km = row % 10 === 0 ? Number.NaN : Math.fround(Math.sin(row) * 100 + row / 50)
  return [km, row % 100 === 7 ? -1 : row % 7 === 0 ? 2 : row % 2, row % 3 === 0 ? 1 : 0, 5, Number.NaN]
}
const scoreOf = (row: number): number => Math.fround((row % 997) / 997)
const truthOf = (row: number): boolean => (row * 7_919) % 1_000 < scoreOf(row) * 800

/** Two thirds have a label; each is there twice, as after a redelivery, and others that are none of the reference. */
async function insertPredictions(): Promise<void> {
  const { client } = database
  await client.command('TRUNCATE TABLE predictions')
  await client.command('TRUNCATE TABLE labels')
  const rows = Array.from({ length: ROWS }, (_, row) => ({
    pipeline: 'trips',
    tenant: 'default',
    segment: row % 4 === 0 ? 'EWR' : 'JFK',
    event_id: `event-${row}`,
    event_time: FROM + Math.floor((row * (TO - FROM)) / ROWS),
    ingested_at: FROM + row,
    origin_generation: 'g',
    origin_offset: row,
    feature_set: pipeline.featureSet.digest,
    features: featuresOf(row),
    model: 'trip',
    model_version: '1',
    role: row % 20 === 0 ? 'canary' : 'primary',
    score: scoreOf(row),
    written_at: FROM + row,
    kafka_generation: 'k',
    kafka_partition: 0,
    kafka_offset: row,
  }))
  const first = rows[0] as (typeof rows)[number]
  const foreign = [
    { ...first, event_id: 'later', event_time: TO },
    { ...first, event_id: 'other model', model: 'other' },
    { ...first, event_id: 'other features', feature_set: 'other' },
    { ...first, event_id: 'other pipeline', pipeline: 'other' },
  ]
  const columns = Object.keys(first)
  for (const batch of [rows, rows, foreign]) await client.insert('predictions', columns, batch)
  const labels = Array.from({ length: ROWS }, (_, row) => row)
    .filter((row) => row % 3 !== 0)
    .map((row) => ({
      pipeline: 'trips',
      tenant: 'default',
      event_id: `event-${row}`,
      kind: 'boolean',
      value: truthOf(row) ? 1 : 0,
      written_at: FROM + row,
      kafka_offset: row,
    }))
  for (const batch of [labels, labels]) await client.insert('labels', Object.keys(labels[0] as object), batch)
}

const WINDOW = { from: FROM, to: TO, modelVersion: null }

function fromPredictions(): Promise<ReferenceProfile> {
  return withScratchTable(database.client, REFERENCE_COLUMNS, async (table) => {
    const rows = await copyPredictions(database.client, pipeline, WINDOW, table)
    return await buildProfile(database.client, pipeline, rows, { kind: 'predictions', ...WINDOW })
  })
}

function fromFile(reference: ReferenceFile): Promise<ReferenceProfile> {
  return withScratchTable(database.client, REFERENCE_COLUMNS, async (table) => {
    const rows = await copyFile(database.client, pipeline.features, reference, table)
    return await buildProfile(database.client, pipeline, rows, await sourceOf(reference.file))
  })
}

/** What a query says, as a file of the format. */
async function fileOf(sql: string, format: 'Parquet' | 'Avro'): Promise<string> {
  const url = new URL(inject('stack').env['CLICKHOUSE_URL'] as string)
  url.searchParams.set('database', database.name)
  const settings = `output_format_avro_string_column_pattern = '.*', output_format_avro_codec = 'deflate'`
  const answer = await fetch(url, { method: 'POST', body: `${sql} FORMAT ${format} SETTINGS ${settings}` })
  const bytes = Buffer.from(await answer.arrayBuffer())
  expect(answer.status, bytes.toString()).toBe(200)
  const file = path.join(folder, `reference.${format.toLowerCase()}`)
  writeFileSync(file, bytes)
  return file
}

/** The predictions' rows as a training set has them: categories by name, missing values null, columns in another order. */
const TRAINING_SET = `SELECT segment AS place, p.event_time AS happened, score AS probability, features[3] = 1 AS late,
    multiIf(features[2] < 0, 'unknown', ['first', 'second', 'third'][toUInt8(greatest(features[2], 0)) + 1]) AS cabin,
    CAST(if(isNaN(features[1]), NULL, features[1]), 'Nullable(Float64)') AS km, toInt32(5) AS constant, 'left alone' AS other,
    CAST(NULL, 'Nullable(Float64)') AS never, if(l.event_id = '', NULL, l.value = 1) AS truth
  FROM (SELECT * FROM predictions FINAL WHERE pipeline = 'trips' AND model = 'trip' AND event_id LIKE 'event-%'
    AND feature_set != 'other') AS p
  LEFT JOIN (SELECT * FROM labels FINAL) AS l ON p.event_id = l.event_id ORDER BY cityHash64(p.event_id)`
const COLUMNS = { score: 'probability', label: 'truth', segment: 'place', time: 'happened' }

function subjectOf({ subjects }: ReferenceProfile, name: string): SubjectProfile {
  return subjects.find((subject) => subject.name === name) as SubjectProfile
}

test('a profile says what the predictions of its window had, each counted once', async () => {
  await insertPredictions()
  const profile = await fromPredictions()
  expect(profile).toMatchObject({ model: 'trip', featureSet: pipeline.featureSet.digest, rows: ROWS })
  expect(profile.subjects.map(({ name, subject, position, kind }) => [name, subject, position, kind])).toEqual([
    ['km', 'feature', 0, 'numeric'],
    ['cabin', 'feature', 1, 'values'],
    ['late', 'feature', 2, 'values'],
    ['constant', 'feature', 3, 'values'],
    ['never', 'feature', 4, 'values'],
    ['score', 'score', -1, 'numeric'],
  ])
  for (const { name, counts } of profile.subjects) expect([name, sum(counts)]).toEqual([name, ROWS])

  const km = subjectOf(profile, 'km')
  const present = rowsOf((row) => featuresOf(row)[0] as number).filter((value) => !Number.isNaN(value))
  if (km.kind !== 'numeric') throw new Error('km is counted by bins')
  const counts = Array.from({ length: km.bins + 3 }, () => 0)
  for (const value of present) {
    const bin = Math.max(0, Math.min(km.bins + 1, 1 + Math.floor((value - km.lo) / km.width)))
    counts[bin] = (counts[bin] as number) + 1
  }
  counts[km.bins + 2] = ROWS / 10
  expect(km.counts).toEqual(counts)
  expect(km.mean).toBeCloseTo(sum(present) / present.length, 6)
  expect([km.min, km.max]).toEqual([Math.min(...present), Math.max(...present)])

  expect(subjectOf(profile, 'cabin')).toMatchObject({ others: [], names: CABINS })
  expect(subjectOf(profile, 'late')).toMatchObject({ values: [0, 1], counts: [1_333, 667, 0, 0, 0] })
  expect(subjectOf(profile, 'constant')).toMatchObject({ values: [5], counts: [ROWS, 0, 0, 0], mean: 5, std: 0 })
  expect(subjectOf(profile, 'never')).toMatchObject({ values: [], counts: [0, 0, ROWS], min: null, max: null })

  const { moments, segments, calibration } = profile
  expect(moments?.positions).toEqual([0, 1, 2])
  // the mean of z², a missing one being 0
  expect(moments?.products[0]).toBeCloseTo(0.9, 7)
  expect(moments?.products[5]).toBeCloseTo(1, 7)
  expect(segments?.map(({ segment, rows }) => [segment, rows])).toEqual([
    ['EWR', ROWS / 4],
    ['JFK', (ROWS * 3) / 4],
  ])
  for (const [index, { counts: all }] of profile.subjects.entries()) {
    expect(all.map((_, at) => sum(segments?.map((each) => each.counts[index]?.[at] ?? 0) ?? []))).toEqual(all)
  }
  expect(calibration?.probabilities.length).toBeGreaterThan(1)
  expect(calibration?.probabilities.every((p, at, all) => p >= (all[at - 1] ?? 0) && p <= 1)).toBe(true)
})

test.each(['Parquet', 'Avro'] as const)('a %s file of the same rows makes the same profile', async (format) => {
  await insertPredictions()
  const file = await fileOf(TRAINING_SET, format)
  const { source: _, ...expected } = await fromPredictions()
  const { source, ...profile } = await fromFile({ file, ...COLUMNS })
  expect(source).toMatchObject({
    kind: 'file',
    name: path.basename(file),
    sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
  })
  expect(profile).toEqual(expected)
  expect(profile.windows).not.toBeNull()

  const bare = await fromFile({ file, score: null, label: null, segment: null })
  expect(bare.subjects.map(({ name }) => name)).toEqual(['km', 'cabin', 'late', 'constant', 'never'])
  expect(bare).toMatchObject({ rows: ROWS, segments: [], calibration: null, windows: null })
  const left = await database.client.rows(`SELECT name FROM system.tables WHERE name LIKE 'profile_scratch_%'`)
  expect(left).toEqual([])
})

test('a profile says how far the hours of its day lie from the others', async () => {
  await insertPredictions()
  const { windows } = await fromPredictions()
  expect(windows).toMatchObject({ windowMs: 3_600_000, minRows: 60 })
  // of the hours that JFK has at least 60 rows in, those of EWR have too few
  expect(
    windows?.segments.map(({ segment, subjects, structure }) => [segment, subjects[2]?.['tvd']?.[0], structure?.[0]]),
  ).toEqual([
    ['*', 24, 24],
    ['EWR', undefined, undefined],
    ['JFK', 24, 24],
  ])
  // late is each third: no hour is far from that
  const [, mean, std, largest] = windows?.segments[0]?.subjects[2]?.['tvd'] ?? [0, 1, 1, 1]
  expect(largest).toBeLessThan(0.02)
  expect(mean + std).toBeLessThan(0.02)
  // the first and the last hour are there in part
  pipeline = { ...pipeline, monitor: { ...pipeline.monitor, windowMs: 7_200_000 } }
  const odd = await withScratchTable(database.client, REFERENCE_COLUMNS, async (table) => {
    const window = { from: FROM + 3_600_000, to: TO - 3_600_000, modelVersion: null }
    const rows = await copyPredictions(database.client, pipeline, window, table)
    return await buildProfile(database.client, pipeline, rows, { kind: 'predictions', ...window })
  })
  expect(odd.windows?.segments[0]?.structure?.[0]).toBe(10)
})

test('a file without a feature is refused, and so is one that is none', async () => {
  const file = await fileOf('SELECT number AS km FROM numbers(5)', 'Parquet')
  const nothing = { score: null, label: null, segment: null }
  await expect(fromFile({ file, ...nothing })).rejects.toThrow('cabin')
  const text = path.join(folder, 'reference.csv')
  writeFileSync(text, 'km\n1\n')
  await expect(fromFile({ file: text, ...nothing })).rejects.toMatchObject({ code: 'reference_unreadable' })
  await expect(fromFile({ file: path.join(folder, 'none'), ...nothing })).rejects.toMatchObject({
    code: 'reference_unreadable',
  })
})

test('without rows there is no profile', async () => {
  await database.client.command('TRUNCATE TABLE predictions')
  await expect(fromPredictions()).rejects.toMatchObject({ code: 'reference_empty' })
})

test('a profile is stored as a row per subject, however often', async () => {
  await insertPredictions()
  const content = await fromPredictions()
  const entry = {
    pipeline: 'trips',
    profile: '1',
    state: 'accepted' as const,
    digest: digestOfProfile(content),
    content,
  }
  const known = { entry, revision: 1, actor: 'a', reason: '', at: FROM }
  for (let time = 0; time < 2; time++) await storeProfile(database.client, known)
  const rows = await database.client.rows<{ feature: string; labels: string[]; counts: string[]; edges: number[] }>(
    'SELECT feature, labels, counts, edges FROM feature_profiles FINAL ORDER BY subject, position',
  )
  expect(rows.map(({ feature }) => feature)).toEqual(['km', 'cabin', 'late', 'constant', 'never', 'score'])
  for (const { labels, counts } of rows) expect(labels.length).toBe(counts.length)
  expect(rows[0]?.edges.length).toBe(41)
  expect(rows[1]?.labels.slice(-3)).toEqual(['others', 'unseen', 'missing'])
})

function rowsOf<T>(of: (row: number) => T): T[] {
  return Array.from({ length: ROWS }, (_, row) => of(row))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
