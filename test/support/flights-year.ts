import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock as clock } from '../../infra/runtime/clock.ts'
import { driftViews } from '../../schemas/clickhouse/drift-views.ts'
import { pipelineViews } from '../../schemas/clickhouse/pipeline-views.ts'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { createFeatureDrift } from '../../sinks/drift/feature-drift.ts'
import { buildProfile } from '../../sinks/drift/profiles/build-profile.ts'
import { copyPredictions, REFERENCE_COLUMNS, withScratchTable } from '../../sinks/drift/profiles/reference-rows.ts'
import { storeProfile } from '../../sinks/drift/profiles/store-profile.ts'
import { createQuality } from '../../sinks/drift/quality/quality.ts'

export const FLIGHTS = 'infra/sample/flights'
const DAY = 86_400_000
const DAILY = 400
const DAYS = 140
const START = Date.UTC(2013, 0, 1)
const REFERENCE_END = Date.UTC(2013, 3, 1)
export const FLIGHTS_END = START + DAYS * DAY

/**
 * Predictions of the flights pipeline from January to May 2013 with known changes, their labels, and all that the sinks compute of them,
 * compared with January to March, in panes of a day; and the views. From April on it is warmer, humidity is missing more often, and carriers are others; in May a high score
 * means less than it did. Version 2 answers from May on; 3 is its shadow in the last ten days. Of ten predictions nine get a label, after up
 * to 200 hours. The same rows each time.
 */
export async function plantFlights(clickhouse: ClickHouseClient): Promise<CompiledPipeline> {
  const flights = await loadPipeline(FLIGHTS)
  const pipeline = { ...flights, monitor: { ...flights.monitor, paneMs: DAY } }
  const views = [...pipelineViews({ ...pipeline, knownFeatureSets: [] }), ...driftViews(pipeline)]
  for (const { sql } of views) await clickhouse.command(sql)
  await clickhouse.command(`INSERT INTO predictions (${COLUMNS}) ${predictionsSql(pipeline)}`)
  await clickhouse.command(SHADOWS)
  await clickhouse.command(LABELS)
  const profile = await acceptWinter(clickhouse, pipeline)
  await watchAll(clickhouse, pipeline, profile)
  await clickhouse.insert('alerts', Object.keys(ALERTS[0]), ALERTS)
  return pipeline
}

async function acceptWinter(clickhouse: ClickHouseClient, pipeline: CompiledPipeline): Promise<ProfileEntry> {
  const window = { from: START, to: REFERENCE_END, modelVersion: null }
  const content = await withScratchTable(clickhouse, REFERENCE_COLUMNS, async (table) => {
    const rows = await copyPredictions(clickhouse, pipeline, window, table)
    return await buildProfile(clickhouse, pipeline, rows, { kind: 'predictions', ...window })
  })
  const entry: ProfileEntry = { pipeline: pipeline.name, profile: 'winter', state: 'accepted', digest: 'd', content }
  await storeProfile(clickhouse, { entry, at: START, actor: 'test', reason: '', revision: 1 })
  return entry
}

async function watchAll(
  clickhouse: ClickHouseClient,
  pipeline: CompiledPipeline,
  profile: ProfileEntry,
): Promise<void> {
  const { name, monitor, featureSet } = pipeline
  const nothing = (): void => {}
  const instruments = { computed: nothing, scored: nothing, differ: nothing, otherFeatures: nothing }
  const parts = [
    createFeatureDrift({ pipeline: name, featureSet: featureSet.digest, monitor, clickhouse, clock, instruments }),
    createQuality({ pipeline: name, monitor, clickhouse, clock }),
  ]
  const round = { profile, seenUntil: FLIGHTS_END, signal: new AbortController().signal }
  for (const part of parts) while (await part.round(round));
}

/** Between 0 and 1, by the row and a word. */
const u = (word: string): string => `((cityHash64(number, '${word}') % 1000003 + 0.5) / 1000003)`
const normal = (word: string): string => `(sqrt(-2 * log(${u(word)})) * cos(2 * pi() * ${u(`${word} angle`)}))`

const COLUMNS = `pipeline, tenant, segment, event_id, event_time, ingested_at, origin_generation, origin_offset, source_generation,
  source_offset, feature_set, features, degraded, model, model_version, model_digest, role, score, outputs, provider, batch_rows,
  scored_at, written_at, kafka_generation, kafka_partition, kafka_offset`

function predictionsSql({ name, featureSet, model, features }: CompiledPipeline): string {
  const values: Readonly<Record<string, string>> = {
    dep_delay: `round(5 + 20 * abs(${normal('delay')}) - 10)`,
    carrier: `if(spring, 15 - intDiv(toUInt8(${u('carrier')} * 16), 2), toUInt8(${u('carrier')} * 16))`,
    origin: 'cityHash64(number, 1) % 3',
    dest: `toUInt8(pow(${u('dest')}, 3) * 96)`,
    scheduled_hour: `toUInt8(5 + ${u('hour')} * 18)`,
    weekday: 'intDiv(number, 400) % 7',
    temp: `35 + 10 * ${normal('temp')} + if(spring, 25, 0)`,
    humid: `if(${u('humid missing')} < if(spring, 0.2, 0.02), nan, 60 + 15 * ${normal('humid')})`,
    precip: '0',
  }
  const vector = features.map((feature) => `toFloat32(${values[feature.name] ?? `100 + 20 * ${normal(feature.name)}`})`)
  return `SELECT '${name}', 'main', ['EWR', 'JFK', 'LGA'][cityHash64(number, 1) % 3 + 1], concat('flight-', toString(number)),
  at_, toDateTime64('2026-01-05 12:00:00', 3, 'UTC'), 'events-id', number, 'features-id', number,
  '${featureSet.digest}', [${vector.join(', ')}], false, '${model.name}', if(at_ >= toDateTime('2013-05-01', 'UTC'), '2', '1'), 'digest', 'primary',
  score_, [1 - score_, score_], 'cpu', 1, toDateTime64('2026-01-05 12:00:01', 3, 'UTC'), toDateTime64('2026-01-05 12:00:02', 3, 'UTC'), 'predictions-id', 0, number
FROM
(
  SELECT number, toDateTime64(${START / 1_000} + intDiv(number, ${DAILY}) * 86400 + (number % ${DAILY}) * ${86_400 / DAILY}, 3, 'UTC') AS at_,
    at_ >= toDateTime('2013-04-01', 'UTC') AS spring, toFloat32(1 / (1 + exp(1.2 - 1.1 * ${normal('score')} - if(spring, 0.5, 0)))) AS score_
  FROM numbers(${DAYS * DAILY})
)`
}

/** Whether an event turns out true. */
const TRUTH = `(cityHash64(event_id, 'truth') % 1000003) / 1000003 < if(model_version = '2', 0.15 + 0.4 * score, score)`
const LABELS = `INSERT INTO labels
  (pipeline, tenant, event_id, kind, value, class, label_time, written_at, kafka_generation, kafka_partition, kafka_offset)
SELECT pipeline, tenant, event_id, 'boolean', ${TRUTH}, '', event_time + toIntervalHour(lag), least(event_time + toIntervalHour(lag), toDateTime64('2026-01-05 12:00:00', 3, 'UTC')), 'labels-id', 0, kafka_offset
FROM (SELECT *, [0, 0, 3, 20, 90, 200][cityHash64(event_id, 'lag') % 6 + 1] AS lag FROM predictions WHERE pipeline = 'flights')
WHERE cityHash64(event_id, 'labelled') % 10 > 0`
const SHADOWS = `INSERT INTO shadow_predictions (${COLUMNS})
SELECT * REPLACE ('3' AS model_version, 'shadow' AS role, toFloat32(0.7 * score + if(${TRUTH}, 0.25, 0)) AS score, now64(3) AS written_at)
FROM (SELECT ${COLUMNS} FROM predictions WHERE pipeline = 'flights' AND event_time >= toDateTime(${FLIGHTS_END / 1_000 - 864_000}, 'UTC'))`

const EVIDENCE = `SELECT window_start, feature, metric, value FROM drift_scores FINAL WHERE pipeline = 'flights' AND drift AND window_start >= '2013-03-28 00:00:00'`
const alert = (rule: string, state: string, at: number, offset: number, message: string) => ({
  ...{ pipeline: 'flights', rule, state, severity: 'warning', message, evidence_sql: EVIDENCE, at, written_at: at },
  ...{ kafka_generation: 'alerts-id', kafka_partition: 0, kafka_offset: offset },
})
const ALERTS = [
  alert(
    'drift',
    'firing',
    Date.UTC(2013, 3, 11),
    1,
    'flights: drift: temp: w1 2.5 (threshold 0.1), in 2 windows in a row',
  ),
  alert('quality', 'firing', Date.UTC(2013, 4, 9), 2, 'flights: quality: <auc> 0.61 (at least 0.65)'),
  alert('quality', 'resolved', Date.UTC(2013, 4, 16), 3, 'flights: quality: nothing of it in 2 windows in a row'),
] as const
