import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { category, check, derive, flag, lookup, number } from 'millrace'
import { beforeEach, expect, test } from 'vitest'
import { compilePipeline, loadPipeline } from '../../schemas/pipeline/load.ts'
import { FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'
import { event, model, problemsOf, sound, tripFolder, weather } from '../support/trip-pipeline.ts'

let folder = ''
beforeEach(() => {
  folder = tripFolder()
})

test('a sound definition compiles', () => {
  const compiled = compilePipeline(folder, {
    ...sound,
    event: { ...event, key: 'maybe_id', segment: 'late', tenant: { header: true }, topic: 'trips-v1', subject: 'Trip' },
    tables: { weather: { ...weather, onUnavailable: { degradeAfter: '500ms' } } },
    validate: [check('too_far', ['km'] as never, () => true)],
    features: {
      seats: number('seats' as never, { missing: 0 }),
      cabin: category('cabin' as never, ['second', 'first']),
      late: flag('late' as never),
      half: derive(['km'] as never, () => 1),
      wind: lookup('weather' as never, 'wind' as never, { by: ['carrier', 'at'] as never }),
      storm: lookup('weather' as never, 'storm' as never, {
        by: ['carrier', derive(['at'] as never, () => 0)] as never,
        missing: 0,
      }),
    },
  })
  expect(compiled.event).toMatchObject({
    topic: 'trips-v1',
    owned: false,
    subject: 'Trip',
    keyField: 'maybe_id',
    segmentField: 'late',
    tenant: { from: 'header' },
  })
  expect(compiled.tables[0]).toMatchObject({
    topic: 'trips.weather',
    maxAgeMs: 10_800_000,
    onUnavailable: { policy: 'degrade', afterMs: 500 },
  })
  expect(compiled.features.map(({ name, kind, type, missing }) => [name, kind, type.type, missing])).toEqual([
    ['seats', 'number', 'float32', 0],
    ['cabin', 'category', 'category', Number.NaN],
    ['late', 'flag', 'flag', Number.NaN],
    ['half', 'derive', 'float32', Number.NaN],
    ['wind', 'lookup', 'float32', Number.NaN],
    ['storm', 'lookup', 'flag', 0],
  ])
  expect(compiled.label).toMatchObject({ topic: 'trips.labels', subject: 'trips.labels-value' })
})

test('a label may be withdrawn where its schema knows null', () => {
  const withdrawable = (label: object) => compilePipeline(folder, { ...sound, label }).label?.withdrawable
  const { label } = sound
  expect(withdrawable(label)).toBe(false)
  expect(withdrawable({ ...label, schema: './weather.avsc', id: 'station' })).toBe(true)
})

test('the defaults of what is not said', () => {
  const compiled = compilePipeline(folder, {
    name: 'trips',
    event,
    features: sound.features,
    model: { ...model, output: { tensor: 'p' } },
  })
  expect(compiled.event).toMatchObject({
    topic: 'trips.events',
    owned: true,
    subject: 'trips.events-value',
    keyField: null,
    segmentField: null,
    retentionMs: null,
    tenant: { fixed: 'default' },
  })
  expect(compiled).toMatchObject({
    tables: [],
    checks: [],
    label: null,
    model: { output: { index: 'max' }, budgetMs: 20 },
  })
  expect(compiled.model.directory).toBe(path.join(folder, 'models'))
})

test('all problems are told at once', () => {
  expect(
    problemsOf(folder, {
      ...sound,
      name: 'T',
      event: { ...event, id: 'km', time: 'idd' },
      model: { ...model, budget: '' },
    }),
  ).toHaveLength(4)
})

test.each([
  ['not JSON', '{', 'event.avsc: is not valid JSON: '],
  ['not a record', '"string"', 'event.avsc: the schema must be an Avro record'],
  [
    'unknown type',
    '{"type":"record","name":"T","fields":[{"name":"a","type":"text"}]}',
    'event.avsc: fields[0].type: there is no Avro type named "text"',
  ],
  [
    'field twice',
    '{"type":"record","name":"T","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}',
    'event.avsc: fields[1].name: the field a is there twice',
  ],
])('refused: a schema that is %s', (_, text, problem) => {
  writeFileSync(path.join(folder, 'event.avsc'), text)
  expect(problemsOf(folder, sound)[0]).toContain(problem)
})

test('a folder without a pipeline, one that throws and one without a default export are refused by name', async () => {
  await expect(loadPipeline(folder)).rejects.toThrow(
    `${folder}: there is no pipeline.ts (or pipeline.js, pipeline.mjs)`,
  )
  const file = path.join(folder, 'pipeline.mjs')
  writeFileSync(file, 'throw new RangeError("no vocabulary")')
  await expect(loadPipeline(folder)).rejects.toThrow(`${file}: could not be loaded: RangeError: no vocabulary`)
  const other = path.join(folder, 'pipeline.js')
  writeFileSync(other, 'export const pipeline = {}')
  await expect(loadPipeline(folder)).rejects.toThrow(`${other}: has no default export`)
})

test('the pipelines of the repository load', async () => {
  expect((await loadPipeline(FLIGHTS)).features).toHaveLength(16)
  expect((await loadPipeline(ORDERS)).event.retentionMs).toBe(172_800_000)
})
