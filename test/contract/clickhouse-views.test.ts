import { afterAll, beforeAll, expect, test } from 'vitest'
import { pipelineViews } from '../../schemas/clickhouse/pipeline-views.ts'
import { featureSetOf } from '../../schemas/pipeline/feature-set.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { storeLabel, storePredictions } from '../support/inserted-rows.ts'

// The views on the real engine, filled through the sinks' own rows.

let database: TestDatabase

beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database?.drop())

test('the predictions view names the features of every feature set as an analyst would', async () => {
  const older = featureSetOf([
    { name: 'carrier', type: 'category', values: ['UA', "O'Hare"] },
    { name: 'delay', type: 'float32' },
  ])
  const current = featureSetOf([
    { name: 'delay', type: 'float32' },
    { name: 'rush_hour', type: 'flag' },
    { name: 'carrier', type: 'category', values: ['AA', 'UA', "O'Hare"] },
    { name: 'score', type: 'float32' },
  ])
  const views = pipelineViews({ name: 'two-sets', featureSet: current, knownFeatureSets: [older, current] })
  expect(views.map(({ name }) => name)).toEqual([
    'two_sets_predictions',
    'two_sets_quality',
    'two_sets_versions',
    'two_sets_rollout',
  ])
  for (const { sql } of views) await database.client.command(sql)
  for (const { sql } of views) await database.client.command(sql)

  await storePredictions(database, 'two-sets', [
    [1, { origin_offset: 1, feature_set: older.digest, features: [1, -3] }],
    [2, { origin_offset: 2, feature_set: current.digest, features: [Number.NaN, 1, 0, 8] }],
    [3, { origin_offset: 3, feature_set: current.digest, features: [2, Number.NaN, -1, Number.NaN] }],
  ])
  const rows = await database.client.rows(
    `SELECT delay, rush_hour, carrier, carrier_code, feature_score, score, features, request_id
     FROM two_sets_predictions ORDER BY origin_offset`,
  )
  const request = (offset: number): string => `two-sets.20260105.3.${offset}`
  expect(rows).toEqual([
    {
      delay: -3,
      rush_hour: null,
      carrier: "O'Hare",
      carrier_code: 1,
      feature_score: null,
      score: 0.25,
      features: [1, -3],
      request_id: request(1),
    },
    {
      delay: null,
      rush_hour: true,
      carrier: 'AA',
      carrier_code: 0,
      feature_score: 8,
      score: 0.25,
      features: ['nan', 1, 0, 8],
      request_id: request(2),
    },
    {
      delay: 2,
      rush_hour: null,
      carrier: null,
      carrier_code: -1,
      feature_score: null,
      score: 0.25,
      features: [2, 'nan', -1, 'nan'],
      request_id: request(3),
    },
  ])
})

test('the quality view joins each prediction once with the label that counts', async () => {
  const features = featureSetOf([{ name: 'delay', type: 'float32' }])
  for (const { sql } of pipelineViews({ name: 'judged', featureSet: features, knownFeatureSets: [] })) {
    await database.client.command(sql)
  }
  await storePredictions(database, 'judged', [
    [1, { event_id: 'late', origin_offset: 1, score: 0.9 }],
    [2, { event_id: 'on-time', origin_offset: 2, score: 0.75 }],
    [3, { event_id: 'unknown', origin_offset: 3 }],
    [4, { event_id: 'classed', origin_offset: 4, label: 'b' }],
    [5, { event_id: 'measured', origin_offset: 5, score: 0.75 }],
    [6, { event_id: 'late', origin_offset: 1, score: 0.9 }],
    [7, { event_id: 'withdrawn', origin_offset: 6 }],
    [8, { event_id: 'said-again', origin_offset: 7, score: 0.75 }],
  ])
  await storeLabel(database, 'judged', 1, { id: 'late', truth: true })
  await storeLabel(database, 'judged', 2, { id: 'on-time', truth: true })
  await storeLabel(database, 'judged', 3, { id: 'on-time', truth: false })
  await storeLabel(database, 'judged', 4, { id: 'classed', truth: 'b' })
  await storeLabel(database, 'judged', 5, { id: 'measured', truth: 0.25 })
  await storeLabel(database, 'another', 6, { id: 'unknown', truth: true })
  // taken back; taken back and said again; said again before it was taken back
  await storeLabel(database, 'judged', 7, { id: 'withdrawn', truth: true })
  await storeLabel(database, 'judged', 9, { id: 'withdrawn', truth: null })
  await storeLabel(database, 'judged', 8, { id: 'withdrawn', truth: true })
  await storeLabel(database, 'judged', 10, { id: 'said-again', truth: null })
  await storeLabel(database, 'judged', 11, { id: 'said-again', truth: true })
  const rows = await database.client.rows(
    'SELECT event_id, label_kind, label_value, label_class, correct, error FROM judged_quality ORDER BY event_id',
  )
  expect(rows).toEqual([
    { event_id: 'classed', label_kind: 'class', label_value: null, label_class: 'b', correct: 1, error: null },
    {
      event_id: 'late',
      label_kind: 'boolean',
      label_value: 1,
      label_class: null,
      correct: 1,
      error: expect.closeTo(-0.1),
    },
    { event_id: 'measured', label_kind: 'number', label_value: 0.25, label_class: null, correct: null, error: 0.5 },
    { event_id: 'on-time', label_kind: 'boolean', label_value: 0, label_class: null, correct: 0, error: 0.75 },
    { event_id: 'said-again', label_kind: 'boolean', label_value: 1, label_class: null, correct: 1, error: -0.25 },
  ])
})

/** Views of a pipeline with one feature. */
async function makeViews(name: string): Promise<void> {
  const features = featureSetOf([{ name: 'delay', type: 'float32' }])
  for (const { sql } of pipelineViews({ name, featureSet: features, knownFeatureSets: [] })) {
    await database.client.command(sql)
  }
}

test('the table of shadows has the columns of predictions, in their order', async () => {
  const columnsOf = (table: string) =>
    database.client.rows(
      `SELECT name, type, default_expression FROM system.columns
       WHERE database = currentDatabase() AND table = '${table}' ORDER BY position`,
    )
  expect(await columnsOf('shadow_predictions')).toEqual(await columnsOf('predictions'))
})

test('two versions are compared on the same events, each pair once', async () => {
  await makeViews('compared')
  const answered = [
    [1, { event_id: 'same', origin_offset: 1, score: 0.5, label: 'late' }],
    [2, { event_id: 'other', origin_offset: 2, score: 0.25, label: 'on time', role: 'canary', model_version: '2' }],
    [3, { event_id: 'alone', origin_offset: 3 }],
    [4, { event_id: 'fallback', origin_offset: 4, answer: 'fallback' }],
    [5, { event_id: 'generations', origin_offset: 5, origin_generation: 'another' }],
  ] as const
  const shadow = { role: 'shadow', model_version: '9' } as const
  const shown = [
    [1, { ...shadow, event_id: 'same', origin_offset: 1, score: 0.75, label: 'late' }],
    [2, { ...shadow, event_id: 'other', origin_offset: 2, score: 0.75, label: 'late' }],
    [4, { ...shadow, event_id: 'fallback', origin_offset: 4 }],
    [5, { ...shadow, event_id: 'generations', origin_offset: 5 }],
    // scored again after a crash; the first one stays
    [6, { ...shadow, event_id: 'same', origin_offset: 1, score: 0.125, label: 'on time' }],
    // shown to the version after it, too
    [7, { ...shadow, event_id: 'same', origin_offset: 1, score: 0.5, model_version: '10', label: null }],
  ] as const
  await storePredictions(database, 'compared', answered)
  await storePredictions(database, 'compared', [shown[0]], 'shadow_predictions')
  await storePredictions(database, 'compared', shown.slice(1), 'shadow_predictions')
  const rows = await database.client.rows(
    `SELECT event_id, role, model_version, score, shadow_version, shadow_score, shadow_label, score_difference, agree
     FROM compared_versions ORDER BY origin_offset, toUInt32(shadow_version)`,
  )
  const pair = { role: 'primary', model_version: '1', score: 0.5 }
  expect(rows).toEqual([
    {
      ...{ ...pair, event_id: 'same', shadow_version: '9', shadow_score: 0.75, shadow_label: 'late' },
      ...{ score_difference: 0.25, agree: 1 },
    },
    {
      ...{ ...pair, event_id: 'same', shadow_version: '10', shadow_score: 0.5, shadow_label: null },
      ...{ score_difference: 0, agree: null },
    },
    {
      ...{ event_id: 'other', role: 'canary', model_version: '2', score: 0.25, shadow_version: '9' },
      ...{ shadow_score: 0.75, shadow_label: 'late', score_difference: 0.5, agree: 0 },
    },
  ])
})

test('the rollout view says what each version did in each role, hour by hour', async () => {
  await makeViews('rolled-out')
  await storePredictions(database, 'rolled-out', [
    [1, { origin_offset: 1, score: 0.25, answer: 'late' }],
    [2, { origin_offset: 2, score: 0.75 }],
    [3, { origin_offset: 3, score: 1, answer: 'fallback' }],
    [4, { origin_offset: 4, score: 0.5, answer: 'late' }],
    [4, { origin_offset: 4, score: 0.5, answer: 'late' }],
    [5, { origin_offset: 5, score: 0.125, role: 'canary', model_version: '2' }],
  ])
  await storePredictions(
    database,
    'rolled-out',
    [[1, { origin_offset: 1, score: 0.0625, role: 'shadow', model_version: '3' }]],
    'shadow_predictions',
  )
  const rows = await database.client.rows(
    `SELECT model_version, role, rows, mean_score, p50_score, late_share, fallback_share FROM rolled_out_rollout
     ORDER BY model_version`,
  )
  expect(rows).toEqual([
    {
      ...{ model_version: '1', role: 'primary', rows: '4', mean_score: 0.5, p50_score: 0.5 },
      ...{ late_share: 0.5, fallback_share: 0.25 },
    },
    {
      ...{ model_version: '2', role: 'canary', rows: '1', mean_score: 0.125, p50_score: 0.125 },
      ...{ late_share: 0, fallback_share: 0 },
    },
    {
      ...{ model_version: '3', role: 'shadow', rows: '1', mean_score: 0.0625, p50_score: 0.0625 },
      ...{ late_share: 0, fallback_share: 0 },
    },
  ])
})
