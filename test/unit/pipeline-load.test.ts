import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { category, check, derive, flag, lookup, number } from 'millrace'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { compilePipeline, loadPipeline } from '../../schemas/pipeline/load.ts'
import { PipelineError } from '../../schemas/pipeline/problems.ts'
import { FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'

const TIME = { type: 'long', logicalType: 'timestamp-millis' }
const EVENT = {
  type: 'record',
  name: 'Trip',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'at', type: TIME },
    { name: 'maybe_at', type: ['null', TIME], default: null },
    { name: 'maybe_id', type: ['null', 'string'], default: null },
    { name: 'km', type: 'double' },
    { name: 'seats', type: ['null', 'int'], default: null },
    { name: 'carrier', type: 'string' },
    { name: 'cabin', type: { type: 'enum', name: 'Cabin', symbols: ['first', 'second'] } },
    { name: 'late', type: 'boolean' },
    { name: 'stops', type: { type: 'array', items: 'string' } },
    { name: 'raw', type: 'bytes' },
  ],
}
const WEATHER = {
  type: 'record',
  name: 'Weather',
  fields: [
    { name: 'airport', type: 'string' },
    { name: 'hour', type: 'long' },
    { name: 'at', type: TIME },
    { name: 'wind', type: ['null', 'double'], default: null },
    { name: 'storm', type: 'boolean' },
    { name: 'station', type: 'string' },
  ],
}
const LABEL = {
  type: 'record',
  name: 'Arrival',
  fields: [
    { name: 'id', type: 'string' },
    { name: 'at', type: TIME },
    { name: 'delay', type: 'int' },
  ],
}

const event = { schema: './event.avsc', id: 'id', time: 'at' }
const weather = { schema: './weather.avsc', key: ['airport', 'hour'], time: 'at', maxAge: '3h' }
const model = { name: 'trip', alias: 'production', output: { tensor: 'probabilities', index: 1 }, budget: '20ms' }
const label = { schema: './label.avsc', id: 'id', time: 'at', value: (): number => 1 }
const sound = {
  name: 'trips',
  event,
  tables: { weather },
  features: { km: number<never>('km' as never) },
  model,
  label,
}

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'millrace-pipeline-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(path.join(folder, 'event.avsc'), JSON.stringify(EVENT))
  writeFileSync(path.join(folder, 'weather.avsc'), JSON.stringify(WEATHER))
  writeFileSync(path.join(folder, 'label.avsc'), JSON.stringify(LABEL))
})

/** Problems as `<file>: <path>: <message>`, files relative to the folder. */
function problemsOf(definition: unknown): readonly string[] {
  try {
    compilePipeline(folder, definition)
    return []
  } catch (error) {
    if (!(error instanceof PipelineError)) throw error
    return error.message.replaceAll(`${folder}/`, '').split('\n')
  }
}

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

const withEvent = (changes: object): object => ({ ...sound, event: { ...event, ...changes } })
const withTable = (changes: object): object => ({ ...sound, tables: { weather: { ...weather, ...changes } } })
const withFeature = (feature: unknown, name = 'f'): object => ({ ...sound, features: { [name]: feature } })
const withCheck = (...checks: unknown[]): object => ({ ...sound, validate: checks })
const withModel = (changes: object): object => ({ ...sound, model: { ...model, ...changes } })
const withLabel = (changes: object): object => ({ ...sound, label: { ...label, ...changes } })
const wind = (by: unknown, column = 'wind', table = 'weather'): unknown => ({ kind: 'lookup', table, column, by })
const compute = (): number => 1

const REFUSALS: readonly (readonly [name: string, definition: unknown, problem: string])[] = [
  ['no definition', 'trips', 'pipeline.ts: an object is expected, not "trips"'],
  ['unknown key', { ...sound, feature: {} }, 'pipeline.ts: feature: unknown key (did you mean features?)'],
  ['missing key', { ...sound, model: undefined }, 'pipeline.ts: model: is missing'],
  [
    'pipeline name',
    { ...sound, name: 'Trips' },
    'pipeline.ts: name: "Trips" is not a pipeline name: lower-case letters, digits and dashes, a letter first',
  ],
  [
    'reserved name',
    { ...sound, name: 'millrace' },
    'pipeline.ts: name: a pipeline may not be named millrace: its topics are shared ones',
  ],
  ['missing schema file', withEvent({ schema: './evnt.avsc' }), 'evnt.avsc: there is no such file'],
  [
    'unknown id field',
    withEvent({ id: 'idd' }),
    'pipeline.ts: event.id: there is no field idd in Trip (did you mean id?)',
  ],
  [
    'nullable id',
    withEvent({ id: 'maybe_id' }),
    'pipeline.ts: event.id: the field maybe_id of Trip is nullable string, not a string that is never null, which an id must be',
  ],
  [
    'enum id',
    withEvent({ id: 'cabin' }),
    'pipeline.ts: event.id: the field cabin of Trip is enum, not a string that is never null, which an id must be',
  ],
  [
    'time that is no timestamp',
    withEvent({ time: 'km' }),
    'pipeline.ts: event.time: the field km of Trip is double, not a long with logicalType timestamp-millis that is never null, which a time must be',
  ],
  [
    'nullable time',
    withEvent({ time: 'maybe_at' }),
    'pipeline.ts: event.time: the field maybe_at of Trip is nullable timestamp-millis, not a long with logicalType timestamp-millis that is never null, which a time must be',
  ],
  [
    'key of a wrong type',
    withEvent({ key: 'km' }),
    'pipeline.ts: event.key: the field km of Trip is double, not a string, enum, int or long, which a key must be',
  ],
  [
    'nested segment',
    withEvent({ segment: 'stops' }),
    'pipeline.ts: event.segment: the field stops of Trip is array, not a string, enum, int, long or boolean',
  ],
  [
    'tenant',
    withEvent({ tenant: { header: false } }),
    'pipeline.ts: event.tenant.header: only true has a meaning here',
  ],
  [
    'retention',
    withEvent({ retention: '7 days' }),
    'pipeline.ts: event.retention: "7 days" is not a duration such as 20ms, 2s, 5m, 3h or 7d',
  ],
  [
    'retention of a foreign topic',
    withEvent({ topic: 'x', retention: '7d' }),
    'pipeline.ts: event.retention: the topic exists already: how long it is kept is not for this pipeline to say',
  ],
  [
    'table name',
    { ...sound, tables: { labels: weather } },
    'pipeline.ts: tables.labels: a table may not be named labels: the topic trips.labels is another one',
  ],
  [
    'table key',
    withTable({ key: ['airport', 'our'] }),
    'pipeline.ts: tables.weather.key[1]: there is no field our in Weather (did you mean hour?)',
  ],
  [
    'nullable table key',
    withTable({ key: 'wind' }),
    'pipeline.ts: tables.weather.key: the field wind of Weather is nullable double, not a string, enum, int or long, which a key must be and never null',
  ],
  [
    'table time',
    withTable({ time: 'hour' }),
    'pipeline.ts: tables.weather.time: the field hour of Weather is long, not a long with logicalType timestamp-millis that is never null, which a time must be',
  ],
  [
    'no maximum age',
    withTable({ maxAge: '0h' }),
    'pipeline.ts: tables.weather.maxAge: 0h is not a whole number of ms above 0',
  ],
  [
    'policy',
    withTable({ onUnavailable: 'stop' }),
    'pipeline.ts: tables.weather.onUnavailable: "stop" is not one of degrade, pause',
  ],
  ['no features', { ...sound, features: {} }, 'pipeline.ts: features: a pipeline needs at least one feature'],
  [
    'integer-like name',
    withFeature(number('km' as never), '7'),
    'pipeline.ts: features.7: JavaScript puts names that are whole numbers before all others: give the feature another name',
  ],
  [
    'feature name',
    withFeature(number('km' as never), 'k-m'),
    'pipeline.ts: features.k-m: "k-m" is not a feature name: letters, digits and _, not a digit first',
  ],
  [
    'name of a prediction field',
    withFeature(number('km' as never), 'score'),
    'pipeline.ts: features.score: a feature may not be named score: predictions have a field of that name',
  ],
  [
    'callback as a feature',
    withFeature(compute),
    'pipeline.ts: features.f: a feature is one of number(…), category(…), flag(…), derive(…) or lookup(…)',
  ],
  [
    'misspelt field',
    withFeature(number('kms' as never)),
    'pipeline.ts: features.f.field: there is no field kms in Trip (did you mean km?)',
  ],
  [
    'number of a string',
    withFeature(number('carrier' as never)),
    'pipeline.ts: features.f.field: the field carrier of Trip is string, not a number, which number() needs',
  ],
  [
    'flag of a number',
    withFeature(flag('km' as never)),
    'pipeline.ts: features.f.field: the field km of Trip is double, not a boolean, which flag() needs',
  ],
  [
    'nested feature',
    withFeature(number('stops' as never)),
    'pipeline.ts: features.f.field: the field stops of Trip is array, not a number, which number() needs',
  ],
  [
    'missing that a float32 cannot hold',
    withFeature(number('km' as never, { missing: 1e300 })),
    'pipeline.ts: features.f.missing: 1e+300 is not a number that a float32 can hold, or NaN',
  ],
  [
    'category of a number',
    withFeature(category('km' as never, ['1'])),
    'pipeline.ts: features.f.field: the field km of Trip is double, not a string or enum, which category() needs',
  ],
  [
    'value that the enum lacks',
    withFeature(category('cabin' as never, ['first', 'secnd'])),
    'pipeline.ts: features.f.values[1]: the enum cabin has no symbol secnd (did you mean second?)',
  ],
  [
    'value twice',
    withFeature(category('carrier' as never, ['AA', 'AA'])),
    'pipeline.ts: features.f.values[1]: the value "AA" is there twice',
  ],
  [
    'no values',
    withFeature(category('carrier' as never, [])),
    'pipeline.ts: features.f.values: a category needs at least one value',
  ],
  [
    'derived from bytes',
    withFeature(derive(['raw'] as never, compute)),
    'pipeline.ts: features.f.fields[0]: the field raw of Trip is bytes, not a single value: nested fields cannot be used',
  ],
  [
    'derived from nothing',
    withFeature(derive([] as never, compute)),
    'pipeline.ts: features.f.fields: at least one field is needed',
  ],
  [
    'derived without a function',
    withFeature({ kind: 'derive', fields: ['km'], compute: 1 }),
    'pipeline.ts: features.f.compute: a function of the fields is expected',
  ],
  [
    'unknown table',
    withFeature(wind(['carrier', 'at'], 'wind', 'wether')),
    'pipeline.ts: features.f.table: there is no table wether (did you mean weather?)',
  ],
  [
    'unknown column',
    withFeature(wind(['carrier', 'at'], 'wnd')),
    'pipeline.ts: features.f.column: there is no field wnd in Weather (did you mean wind?)',
  ],
  [
    'column of strings',
    withFeature(wind(['carrier', 'at'], 'station')),
    'pipeline.ts: features.f.column: the field station of Weather is string, not a number or boolean, which a feature must be',
  ],
  [
    'short key',
    withFeature(wind(['carrier'])),
    'pipeline.ts: features.f.by: the key of weather has 2 parts (airport, hour), 1 are given',
  ],
  [
    'key part of another type',
    withFeature(wind(['carrier', 'cabin'])),
    "pipeline.ts: features.f.by[1]: cabin is enum, the key's hour is long",
  ],
  [
    'unknown key part',
    withFeature(wind(['carier', 'at'])),
    'pipeline.ts: features.f.by[0]: there is no field carier in Trip (did you mean carrier?)',
  ],
  [
    'unknown field of a derived key part',
    withFeature(wind(['carrier', { kind: 'derive', fields: ['att'], compute }])),
    'pipeline.ts: features.f.by[1].fields[0]: there is no field att in Trip (did you mean at?)',
  ],
  [
    'check of an unknown field',
    withCheck(check('far', ['kmm'] as never, () => true)),
    'pipeline.ts: validate[0].fields[0]: there is no field kmm in Trip (did you mean km?)',
  ],
  [
    'check name',
    withCheck(check('Too far', ['km'] as never, () => true)),
    'pipeline.ts: validate[0].name: "Too far" is not a reason: lower-case letters, digits and _, a letter first',
  ],
  [
    'check with a built-in reason',
    withCheck(check('undecodable', ['km'] as never, () => true)),
    'pipeline.ts: validate[0].name: undecodable is one of the built-in reasons',
  ],
  [
    'check twice',
    withCheck(
      check('far', ['km'] as never, () => true),
      check('far', ['km'] as never, () => true),
    ),
    'pipeline.ts: validate[1].name: there are two checks named far',
  ],
  [
    'model name',
    withModel({ name: '../trip' }),
    'pipeline.ts: model.name: "../trip" is not a name of letters, digits, dots, dashes and underscores',
  ],
  [
    'output index',
    withModel({ output: { tensor: 'p', index: -1 } }),
    'pipeline.ts: model.output.index: -1 is not the position of an output, 0 or above',
  ],
  [
    'budget',
    withModel({ budget: 20 }),
    'pipeline.ts: model.budget: 20 is not a duration such as 20ms, 2s, 5m, 3h or 7d',
  ],
  [
    'label value',
    withLabel({ value: 'delay' }),
    'pipeline.ts: label.value: a function of the label record is expected',
  ],
  [
    'label id',
    withLabel({ id: 'delay' }),
    'pipeline.ts: label.id: the field delay of Arrival is int, not a string that is never null, which an id must be',
  ],
]

test.each(REFUSALS)('refused: %s', (_, definition, problem) => {
  expect(problemsOf(definition)).toEqual([problem])
})

test('all problems are told at once', () => {
  expect(
    problemsOf({ ...sound, name: 'T', event: { ...event, id: 'km', time: 'idd' }, model: { ...model, budget: '' } }),
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
  expect(problemsOf(sound)[0]).toContain(problem)
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
