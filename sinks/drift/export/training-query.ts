import { IS_LABEL } from '../../../schemas/clickhouse/label-kinds.ts'
import { sqlName, sqlText } from '../../../schemas/clickhouse/sql-text.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { eventsOfSql } from '../quality/events-of.ts'

export interface TrainingWindow {
  /** Epoch ms, of the event: from ≤ t < to. */
  readonly from: number
  readonly to: number
  /** Labels count whose own time is at most this, epoch ms. */
  readonly knownAt: number
  /** Only rows with a label. */
  readonly labelled: boolean
}

/** What a row has besides its features. */
const COLUMNS: readonly (readonly [name: string, sql: string])[] = [
  ['event_id', 'p.event_id'],
  ['tenant', 'toString(p.tenant)'],
  ['segment', 'toString(p.segment)'],
  ['event_time', 'p.event_time'],
  ['scored_at', 'p.scored_at'],
  ['model_version', 'toString(p.model_version)'],
  ['score', "if(p.answer = 'fallback', NULL, p.score)"],
  ['label', "if(l.event_id = '' OR l.kind = 'class', NULL, l.value)"],
  ['label_class', "if(l.kind = 'class', l.class, NULL)"],
  ['label_time', "if(l.event_id = '', NULL, l.label_time)"],
]

/** In this order one and the same rows come in one order: the last three name one event. */
const ORDER = 'p.event_time, p.tenant, p.event_id, p.origin_generation, p.kafka_partition, p.origin_offset'

/** Copies of a prediction share its partition, so FINAL need not look across partitions. */
const FINAL_BY_PARTITION = 'SETTINGS do_not_merge_across_partitions_select_final = 1'

/** Names of the features' columns: a feature that is called like another column is `feature_<name>`. */
export function featureColumns({ features }: Pick<CompiledPipeline, 'features'>): readonly string[] {
  const taken = new Set(COLUMNS.map(([name]) => name))
  return features.map(({ name }) => {
    let free = name
    while (taken.has(free)) free = `feature_${free}`
    taken.add(free)
    return free
  })
}

/**
 * What was answered in the window for the pipeline's feature set, each event once: features as the model saw them (NaN = missing, a category
 * as its number), and the label as far as it was known. The answer is the same each time while the rows are.
 */
export function trainingSql(pipeline: CompiledPipeline, window: TrainingWindow): string {
  const names = featureColumns(pipeline)
  const columns = [
    ...COLUMNS.map(([name, sql]) => `${sql} AS ${sqlName(name)}`),
    ...names.map((name, index) => `p.features[${index + 1}] AS ${sqlName(name)}`),
  ]
  const answered = `${answeredSql(pipeline, window)} AND feature_set = ${sqlText(pipeline.featureSet.digest)}`
  const own = `pipeline = ${sqlText(pipeline.name)}`
  return `SELECT
  ${columns.join(',\n  ')}
FROM
(
  SELECT * FROM predictions FINAL
  WHERE ${answered}
  ${FINAL_BY_PARTITION}
) AS p
${window.labelled ? 'INNER' : 'LEFT'} JOIN
(
  SELECT tenant, event_id, toString(kind) AS kind, value, toString(class) AS class, label_time
  FROM labels FINAL WHERE ${own} AND ${IS_LABEL} AND label_time <= ${timeSql(window.knownAt)}
    AND ${eventsOfSql(`predictions WHERE ${answered}`, Number.POSITIVE_INFINITY)}
) AS l ON l.tenant = p.tenant AND l.event_id = p.event_id
ORDER BY ${ORDER}`
}

/** How many rows of the window have other features than the pipeline has now: these are left out. */
export function otherFeatureSetsSql(pipeline: CompiledPipeline, window: TrainingWindow): string {
  return `SELECT toFloat64(count()) AS rows FROM predictions FINAL
WHERE ${answeredSql(pipeline, window)} AND feature_set != ${sqlText(pipeline.featureSet.digest)} ${FINAL_BY_PARTITION}`
}

function answeredSql({ name }: CompiledPipeline, { from, to }: TrainingWindow): string {
  // the hours are the key's own expression, so that others are not read
  return `pipeline = ${sqlText(name)} AND role != 'shadow' AND event_time >= ${timeSql(from)} AND event_time < ${timeSql(to)}
  AND toStartOfHour(event_time) BETWEEN toStartOfHour(${timeSql(from)}) AND ${timeSql(to)}`
}

function timeSql(epochMs: number): string {
  return `fromUnixTimestamp64Milli(toInt64(${epochMs}), 'UTC')`
}
