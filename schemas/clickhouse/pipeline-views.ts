/**
 * The views that a pipeline's users query:
 *
 *   <pipeline>_predictions  every prediction once, one named column per feature
 *   <pipeline>_quality      predictions whose label has arrived and was not withdrawn, with the label
 *   <pipeline>_versions     what was answered and what a shadow version would have said, of the same event
 *   <pipeline>_rollout      hour by hour, what each version said in each role
 *
 * A feature is shown as an analyst would write it: a number (NULL = missing), a flag as Bool, a category as its text,
 * with the code that the model saw beside it in <name>_code. What the model saw, NaN included, is in `features`.
 */
import type { FeatureSet, FeatureType } from '../pipeline/compiled.ts'
import { IS_LABEL } from './label-kinds.ts'
import { sqlName, sqlText } from './sql-text.ts'

export interface PipelineViewsInput {
  /** Pipeline name. */
  readonly name: string
  /** Its columns become the view's. */
  readonly featureSet: FeatureSet
  /** Every set that rows may have been written with; the current one need not be among them. */
  readonly knownFeatureSets: readonly FeatureSet[]
}

/** Columns of `predictions` that both views show as they are. */
const COMMON_COLUMNS = [
  'tenant',
  'segment',
  'event_id',
  'event_time',
  'ingested_at',
  'scored_at',
  'written_at',
  'model',
  'model_version',
  'role',
  'score',
  'label',
  'degraded',
] as const

const DETAIL_COLUMNS = [
  'answer',
  'outputs',
  'provider',
  'batch_rows',
  'model_digest',
  'traceparent',
  'event_schema_id',
  'feature_set',
  'features',
  'origin_generation',
  'kafka_partition',
  'origin_offset',
  'kafka_offset',
] as const

/** View names begin with this; a pipeline name has no underscore, so two pipelines never share one. */
export function viewPrefix(pipeline: string): string {
  return pipeline.replaceAll('-', '_')
}

export interface View {
  readonly name: string
  /** Replaces the view that was there. */
  readonly sql: string
}

/** To be made in order. */
export function pipelineViews(input: PipelineViewsInput): readonly View[] {
  const prefix = viewPrefix(input.name)
  return [
    { name: `${prefix}_predictions`, sql: predictionsView(input) },
    { name: `${prefix}_quality`, sql: qualityView(input.name) },
    { name: `${prefix}_versions`, sql: versionsView(input.name) },
    { name: `${prefix}_rollout`, sql: rolloutView(input.name) },
  ]
}

function predictionsView({ name, featureSet, knownFeatureSets }: PipelineViewsInput): string {
  const sets = distinctSets([featureSet, ...knownFeatureSets])
  const taken = new Set<string>([...COMMON_COLUMNS, ...DETAIL_COLUMNS, 'request_id'])
  const names = featureSet.features.map((feature) => unusedName(feature.name, taken))
  const columns = featureSet.features.flatMap((feature, index) => {
    const column = names[index] ?? feature.name
    const value = `${shownValue(feature.name, feature, sets)} AS ${sqlName(column)}`
    if (feature.type !== 'category') return [value]
    const code = unusedName(`${column}_code`, taken)
    return [value, `${numberOf(rawValue(feature.name, sets))} AS ${sqlName(code)}`]
  })
  return [
    `CREATE OR REPLACE VIEW ${sqlName(`${viewPrefix(name)}_predictions`)} AS`,
    'SELECT',
    [
      ...COMMON_COLUMNS.map(sourceColumn),
      ...columns,
      ...DETAIL_COLUMNS.map(sourceColumn),
      `${REQUEST_ID} AS request_id`,
    ].join(',\n'),
    'FROM predictions AS p FINAL',
    `WHERE p.pipeline = ${sqlText(name)}`,
    FINAL_BY_PARTITION,
  ].join('\n')
}

/** See schemas/request-id.ts. */
const REQUEST_ID =
  "concat(p.pipeline, '.', formatDateTime(p.ingested_at, '%Y%m%d'), '.', toString(p.kafka_partition), '.', toString(p.origin_offset))"

/** Copies of a prediction share its partition (see 0001_predictions.sql), so FINAL need not look across partitions. */
const FINAL_BY_PARTITION = 'SETTINGS do_not_merge_across_partitions_select_final = 1'

function qualityView(name: string): string {
  const view = sqlName(`${viewPrefix(name)}_quality`)
  return `CREATE OR REPLACE VIEW ${view} AS
SELECT
${COMMON_COLUMNS.map(sourceColumn).join(',\n')},
    l.kind AS label_kind,
    if(l.kind = 'class', NULL, l.value) AS label_value,
    if(l.kind = 'class', l.class, NULL) AS label_class,
    l.label_time AS label_time,
    -- a class is compared with the most probable one, a truth with the score's side of one half; a number is never "correct"
    multiIf(
        l.kind = 'boolean', (p.score >= 0.5) = (l.value = 1),
        l.kind = 'class', p.label = l.class,
        NULL
    ) AS correct,
    if(l.kind = 'class', NULL, p.score - l.value) AS error
FROM predictions AS p FINAL
INNER JOIN
(
    SELECT tenant, event_id, kind, value, toString(class) AS class, label_time FROM labels FINAL
    WHERE pipeline = ${sqlText(name)} AND ${IS_LABEL}
) AS l ON l.tenant = p.tenant AND l.event_id = p.event_id
WHERE p.pipeline = ${sqlText(name)}
${FINAL_BY_PARTITION}`
}

/**
 * A pair per event and shadow version; agree = the same label, NULL where a version has none. An event that the fallback answered
 * has no pair: no version said it.
 */
function versionsView(name: string): string {
  const view = sqlName(`${viewPrefix(name)}_versions`)
  return `CREATE OR REPLACE VIEW ${view} AS
SELECT
${['tenant', 'segment', 'event_id', 'event_time', 'ingested_at', 'role', 'model_version', 'score', 'label'].map(sourceColumn).join(',\n')},
    s.model_version AS shadow_version,
    s.score AS shadow_score,
    s.label AS shadow_label,
    toFloat64(s.score) - p.score AS score_difference,
    p.label = s.label AS agree,
${['origin_generation', 'kafka_partition', 'origin_offset'].map(sourceColumn).join(',\n')}
FROM predictions AS p FINAL
INNER JOIN
(
    SELECT origin_generation, kafka_partition, origin_offset, model_version, score, label
    FROM shadow_predictions FINAL WHERE pipeline = ${sqlText(name)}
) AS s
    ON s.origin_generation = p.origin_generation AND s.kafka_partition = p.kafka_partition AND s.origin_offset = p.origin_offset
WHERE p.pipeline = ${sqlText(name)} AND p.role != 'shadow' AND p.answer != 'fallback'
${FINAL_BY_PARTITION}`
}

/** By the hour in which they were scored; scores are those of the model, never of the fallback. */
function rolloutView(name: string): string {
  const view = sqlName(`${viewPrefix(name)}_rollout`)
  const columns = 'toStartOfHour(scored_at) AS hour, model, model_version, toString(role) AS role, score, answer'
  return `CREATE OR REPLACE VIEW ${view} AS
SELECT
    hour,
    model,
    model_version,
    role,
    count() AS rows,
    avgIf(score, answer != 'fallback') AS mean_score,
    quantileTDigestIf(0.05)(score, answer != 'fallback') AS p05_score,
    quantileTDigestIf(0.5)(score, answer != 'fallback') AS p50_score,
    quantileTDigestIf(0.95)(score, answer != 'fallback') AS p95_score,
    countIf(answer = 'late') / rows AS late_share,
    countIf(answer = 'fallback') / rows AS fallback_share
FROM
(
    SELECT ${columns} FROM predictions FINAL WHERE pipeline = ${sqlText(name)}
    UNION ALL
    SELECT ${columns} FROM shadow_predictions FINAL WHERE pipeline = ${sqlText(name)}
)
GROUP BY hour, model, model_version, role
${FINAL_BY_PARTITION}`
}

type Feature = FeatureSet['features'][number]

interface Position {
  readonly digest: string
  /** 1-based place in `features`. */
  readonly place: number
  readonly type: FeatureType
}

function distinctSets(sets: readonly FeatureSet[]): readonly FeatureSet[] {
  return [...new Map(sets.map((set) => [set.digest, set])).values()]
}

/** Where each set that has the feature keeps it. A feature that changed its type is another one. */
function positionsOf(name: string, type: FeatureType['type'], sets: readonly FeatureSet[]): readonly Position[] {
  return sets.flatMap(({ digest, features }) => {
    const index = features.findIndex((feature) => feature.name === name && feature.type === type)
    const feature = features[index]
    return feature === undefined ? [] : [{ digest, place: index + 1, type: feature }]
  })
}

function shownValue(name: string, feature: Feature, sets: readonly FeatureSet[]): string {
  const positions = positionsOf(name, feature.type, sets)
  switch (feature.type) {
    case 'float32':
      return numberOf(choose(positions, ({ place }) => `p.features[${place}]`, NAN))
    case 'flag':
      return choose(
        positions,
        ({ place }) => `multiIf(p.features[${place}] = 1, true, p.features[${place}] = 0, false, NULL)`,
        'NULL',
      )
    case 'category':
      return choose(positions, categoryText, 'NULL')
  }
}

function rawValue(name: string, sets: readonly FeatureSet[]): string {
  return choose(positionsOf(name, 'category', sets), ({ place }) => `p.features[${place}]`, NAN)
}

const NAN = "toFloat32('nan')"

function numberOf(value: string): string {
  return `if(isNaN(${value}), NULL, ${value})`
}

/** NULL for a missing value and for one that the set does not list. */
function categoryText({ place, type }: Position): string {
  const values = type.type === 'category' ? type.values : []
  const code = `p.features[${place}]`
  return `if(${code} >= 0 AND ${code} < ${values.length}, [${values.map(sqlText).join(', ')}][toUInt32(${code}) + 1], NULL)`
}

/** One expression per feature set, joined into a choice by the row's own set. */
function choose(positions: readonly Position[], expression: (position: Position) => string, otherwise: string): string {
  const bySql = Map.groupBy(positions, expression)
  const branches = [...bySql].map(([sql, same]) => {
    const digests = same.map(({ digest }) => sqlText(digest)).join(', ')
    return `p.feature_set IN (${digests}), ${sql}`
  })
  return `multiIf(${[...branches, otherwise].join(', ')})`
}

function unusedName(name: string, taken: Set<string>): string {
  let free = name
  while (taken.has(free)) free = `feature_${free}`
  taken.add(free)
  return free
}

function sourceColumn(column: string): string {
  return `    p.${column} AS ${column}`
}
