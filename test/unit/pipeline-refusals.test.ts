import { category, check, derive, flag, number } from 'millrace'
import { expect, test } from 'vitest'
import { event, label, model, problemsOf, sound, tripFolder, weather } from '../support/trip-pipeline.ts'

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
  ['deadline', withModel({ deadline: '0s' }), 'pipeline.ts: model.deadline: 0s is not a whole number of ms above 0'],
  [
    'fallback for late answers without a deadline',
    withModel({ fallback: { score: 0, when: ['late', 'invalid'] } }),
    'pipeline.ts: model.fallback.when: nothing is ever late without a deadline',
  ],
  [
    'fallback for an unknown case',
    withModel({ deadline: '1s', fallback: { score: 0, when: ['late', 'wrong'] } }),
    'pipeline.ts: model.fallback.when[1]: "wrong" is not one of late, invalid',
  ],
  [
    'fallback for no case',
    withModel({ fallback: { score: 0, when: [] } }),
    'pipeline.ts: model.fallback.when: late, invalid or both are expected',
  ],
  [
    'fallback that is not told when',
    withModel({ fallback: { score: 0 } }),
    'pipeline.ts: model.fallback.when: is missing',
  ],
  [
    'fallback without a score',
    withModel({ fallback: { label: 'x', when: ['invalid'] } }),
    'pipeline.ts: model.fallback.score: is missing',
  ],
  [
    'fallback that is no number',
    withModel({ fallback: { score: Number.NaN, when: ['invalid'] } }),
    'pipeline.ts: model.fallback.score: NaN is not a finite number that a float32 can hold',
  ],
  [
    'fallback that a float32 cannot hold',
    withModel({ fallback: { score: 1e39, when: ['invalid'] } }),
    'pipeline.ts: model.fallback.score: 1e+39 is not a finite number that a float32 can hold',
  ],
  [
    'misspelt part of a fallback',
    withModel({ fallback: { scores: 1, score: 0, when: ['invalid'] } }),
    'pipeline.ts: model.fallback.scores: unknown key (did you mean score?)',
  ],
  [
    'unknown provider',
    withModel({ provider: { prefer: 'tpu' } }),
    'pipeline.ts: model.provider.prefer: "tpu" is not one of cpu, cuda',
  ],
  [
    'provider that is both',
    withModel({ provider: { prefer: 'cuda', require: 'cuda' } }),
    'pipeline.ts: model.provider: either require or prefer is expected',
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
  expect(problemsOf(tripFolder(), definition)).toEqual([problem])
})
