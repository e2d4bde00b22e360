/**
 * The views in which an analyst finds how a pipeline's data and quality have changed. All but the first are of what the sinks compute:
 *
 *   <pipeline>_profiles           what features and scores are compared with
 *   <pipeline>_drift              how far each window is from the profile, by feature, segment and metric
 *   <pipeline>_drift_now          the last closed window of each version, a row per feature and segment
 *   <pipeline>_drift_reasons      by how much each bin made the PSI of a window
 *   <pipeline>_panes              the counts behind it: any window is a sum of panes
 *   <pipeline>_bins               the same, a row per bin, in words
 *   <pipeline>_quality_over_time  how good predictions were, by all that is known today
 *   <pipeline>_quality_by_lag     the same as it was known after so many hours
 *   <pipeline>_outcomes           predictions by score, by what became of them and by how long that took: what quality is computed from
 *   <pipeline>_challengers        shadow versions against what was served, on the same events
 *   <pipeline>_alerts             when rules began and ceased to fire, with the query that proves it
 *   <pipeline>_alerts_now         the rules that fire
 *
 * Only panes and windows of the widths that pipeline.ts names are shown, so that they may be added up. Each column has a comment:
 * DESCRIBE TABLE shows it.
 */
import type { CompiledMonitor } from '../pipeline/monitor.ts'
import { type View, viewPrefix } from './pipeline-views.ts'
import { sqlName, sqlText } from './sql-text.ts'

export interface DriftViewsInput {
  /** Pipeline name. */
  readonly name: string
  readonly monitor: Pick<CompiledMonitor, 'paneMs' | 'windowMs'>
}

/** Name, type, comment, and the expression where it is not the column of that name. */
type Column = readonly [name: string, type: string, comment: string, sql?: string]

const TIME = "DateTime('UTC')"
const INSTANT = "DateTime64(3, 'UTC')"
/** In `known_after_hours` and `lag_hours`: no limit, no label. */
const NONE = 65_535
/** Bins of the score in performance_panes. */
const SCORE_BINS = 200

const WINDOW: readonly Column[] = [
  ['window_start', TIME, 'The window begins, in event time'],
  ['window_end', TIME, 'The window ends, in event time'],
]
const PANE: Column = ['pane', TIME, 'The pane begins, in event time']
const VERSION: Column = ['model_version', 'String', 'The version that answered']
const ROLE: Column = ['role', 'String', 'primary or canary; shadow for a challenger']
const SEGMENT: Column = ['segment', 'String', '* = all of them']
const SUBJECT: Column = ['subject', 'String', 'feature or score']
const FEATURE: Column = ['feature', 'String', 'Name of the feature; score; * for how all features hang together']
const PROFILE: Column = ['profile', 'String', 'The reference profile that it was compared with']
const CLOSED: Column = ['closed', 'Bool', 'The window is over: only late records change it']

/** To be made in order, behind the pipeline's own views. */
export function driftViews({ name, monitor }: DriftViewsInput): readonly View[] {
  const of = `pipeline = ${sqlText(name)}`
  const pane = `${of} AND pane_seconds = ${monitor.paneMs / 1_000}`
  // by the table's name: a view's own column may be called like one of the table
  const window = `t.${of} AND t.n > 0 AND dateDiff('second', t.window_start, t.window_end) = ${monitor.windowMs / 1_000}`
  const view = (suffix: string, comment: string, columns: readonly Column[], from: string): View => {
    const called = `${viewPrefix(name)}_${suffix}`
    const typed = columns.map(([column, type, said]) => `    ${sqlName(column)} ${type} COMMENT ${sqlText(said)}`)
    const sources = columns.map(([column, , , sql]) => `    ${sql ?? `t.${column}`} AS ${sqlName(column)}`)
    return {
      name: called,
      sql: `CREATE OR REPLACE VIEW ${sqlName(called)}\n(\n${typed.join(',\n')}\n) AS\nSELECT\n${sources.join(',\n')}\n${from}\n${BY_PARTITION}\nCOMMENT ${sqlText(comment)}`,
    }
  }
  return [
    view(
      'profiles',
      'What features and scores are compared with',
      PROFILES,
      `FROM feature_profiles AS t FINAL WHERE ${of}`,
    ),
    view(
      'drift',
      'How far each window is from the reference profile. drift = above its threshold, after the correction over all that was tested',
      DRIFT,
      `FROM drift_scores AS t FINAL WHERE ${window}`,
    ),
    view(
      'drift_now',
      'The last closed window of each version: a row per feature and segment, the metrics side by side',
      DRIFT_NOW,
      `FROM drift_scores AS t FINAL
WHERE ${window} AND t.closed AND (t.model_version, t.role, t.window_end, t.profile) IN
(
    SELECT model_version, role, max(window_end), argMax(profile, (window_end, computed_at)) FROM drift_scores AS t
    WHERE ${window} AND t.closed GROUP BY model_version, role
)
GROUP BY t.window_start, t.window_end, t.profile, t.model_version, t.role, t.segment, t.subject, t.feature`,
    ),
    view(
      'drift_reasons',
      'By how much each bin made the PSI of a window: the contributions add up to it',
      REASONS,
      `FROM (SELECT * FROM drift_scores AS t FINAL WHERE ${window} AND t.metric = 'psi') AS t
INNER JOIN (SELECT profile, subject, feature, labels FROM feature_profiles FINAL WHERE ${of}) AS p USING (profile, subject, feature)
ARRAY JOIN t.contributions AS contribution, arrayEnumerate(t.contributions) AS bin`,
    ),
    view(
      'panes',
      'How often a feature (or the score) had a value, pane by pane, in the order of labels. Any window is a sum of panes: sumForEach(counts)',
      PANES,
      panesFrom(pane, of),
    ),
    view(
      'bins',
      'How often a feature (or the score) had a value, pane by pane, a row per bin. Sum rows over panes for any window',
      BINS,
      `${panesFrom(pane, of)}\nARRAY JOIN t.counts AS count_, arrayEnumerate(t.counts) AS bin`,
    ),
    view(
      'quality_over_time',
      'How good the predictions of a window were, by all labels that are known today; estimated_... is what was expected before labels',
      QUALITY,
      `FROM quality_scores AS t FINAL WHERE ${window} AND t.known_after_hours = ${NONE} AND t.metric NOT LIKE '%_gain'`,
    ),
    view(
      'quality_by_lag',
      'How good the predictions of a window were as it was known after so many hours: what somebody who looked then was told',
      BY_LAG,
      `FROM quality_scores AS t FINAL WHERE ${window} AND t.metric NOT LIKE '%_gain' AND t.metric NOT LIKE 'estimated_%'`,
    ),
    view(
      'outcomes',
      'Predictions by score and by what became of them. Quality of any window and any label lag is a sum of these',
      OUTCOMES,
      `FROM (SELECT * FROM performance_panes FINAL WHERE ${pane} AND n > 0) AS t
ARRAY JOIN arrayFilter(i -> t.counts[i] > 0, arrayEnumerate(t.counts)) AS bin`,
    ),
    view(
      'challengers',
      'Shadow versions against what was served, on the same labelled events: a positive gain means that the challenger is better',
      CHALLENGERS,
      `FROM quality_scores AS t FINAL WHERE ${window} AND t.metric LIKE '%_gain'`,
    ),
    view(
      'alerts',
      'When rules began (firing) and ceased (resolved) to fire',
      ALERTS,
      `FROM alerts AS t FINAL WHERE ${of}`,
    ),
    view(
      'alerts_now',
      'The rules that fire',
      ALERTS_NOW,
      `FROM alerts AS t FINAL WHERE ${of} GROUP BY rule HAVING argMax(t.state, (t.at, t.kafka_offset)) = 'firing'`,
    ),
  ]
}

/** A key of these tables is of one month's partition. */
const BY_PARTITION = 'SETTINGS do_not_merge_across_partitions_select_final = 1'

function panesFrom(pane: string, of: string): string {
  return `FROM (SELECT * FROM feature_panes FINAL WHERE ${pane} AND n > 0) AS t
INNER JOIN
(
    SELECT profile, subject, position, labels, counts AS reference FROM feature_profiles FINAL WHERE ${of}
) AS p USING (profile, subject, position)`
}

const PROFILES: readonly Column[] = [
  PROFILE,
  SUBJECT,
  ['feature', 'String', 'Name of the feature, or score'],
  ['kind', 'String', 'numeric = counted by bins, values = counted by value'],
  ['reference_rows', 'UInt64', 'Rows of the reference', 't.rows'],
  ['mean', 'Float64', 'Of the values that are not missing'],
  ['std', 'Float64', 'Standard deviation of the values that are not missing'],
  ['missing_share', 'Float64', 'Share of the rows without a value', 't.counts[-1] / t.rows'],
  ['labels', 'Array(String)', 'What is counted, in words'],
  ['counts', 'Array(UInt64)', 'How often the reference had it'],
  ['model', 'String', 'The model that the reference is of'],
  ['feature_set', 'String', 'Digest of the features that it describes'],
  ['created_at', INSTANT, 'When it was accepted or proposed last'],
]

const DRIFT: readonly Column[] = [
  ...WINDOW,
  VERSION,
  ROLE,
  SEGMENT,
  SUBJECT,
  FEATURE,
  ['metric', 'String', 'psi, js, hellinger, tvd, linf, chi2, ks, w1, missing, unseen, reconstruction_error'],
  ['value', 'Float64', 'How far the window is from the profile'],
  ['threshold', 'Float64', 'From here on it matters'],
  ['noise_floor', 'Float64', 'What 95 of 100 windows of this size stay below when nothing has changed'],
  ['times_threshold', 'Float64', 'value / threshold: above 1 it matters', 't.value / t.threshold'],
  ['drift', 'Bool', 'Above the threshold, and no chance after the correction over all that was tested'],
  ['status', 'String', 'ok or insufficient_data'],
  ['p_value', 'Nullable(Float64)', 'Of the metric’s test'],
  ['p_adjusted', 'Nullable(Float64)', 'The same after the correction'],
  ['n', 'UInt64', 'Predictions that were counted'],
  ['n_reference', 'UInt64', 'Rows of the reference that were counted'],
  CLOSED,
  PROFILE,
  ['params', 'Map(String, String)', 'What the metric was computed with'],
  ['computed_at', INSTANT, 'When it was computed'],
]

const shown = (metric: string, comment: string): Column => [
  metric,
  'Nullable(Float64)',
  comment,
  `maxOrNullIf(t.value, t.metric = ${sqlText(metric)})`,
]

const DRIFT_NOW: readonly Column[] = [
  ...WINDOW,
  VERSION,
  ROLE,
  SEGMENT,
  SUBJECT,
  FEATURE,
  ['drifted', 'Bool', 'At least one metric says so', 'max(t.drift)'],
  ['drifted_by', 'Array(String)', 'The metrics that say so', 'arraySort(groupArrayIf(toString(t.metric), t.drift))'],
  [
    'times_threshold',
    'Float64',
    'The largest value / threshold of its metrics',
    'maxIf(t.value / t.threshold, isFinite(t.value / t.threshold))',
  ],
  ['n', 'UInt64', 'Predictions that were counted', 'max(t.n)'],
  ['n_reference', 'UInt64', 'Rows of the reference that were counted', 'max(t.n_reference)'],
  [
    'status',
    'String',
    'ok, or insufficient_data when nothing could be tested',
    "if(max(t.status = 'ok'), 'ok', 'insufficient_data')",
  ],
  shown('psi', 'Population stability index (Jeffreys)'),
  shown('js', 'Jensen-Shannon distance, base 2'),
  shown('hellinger', 'Hellinger distance'),
  shown('tvd', 'Total variation distance'),
  shown('ks', 'Kolmogorov-Smirnov distance; NULL for values without an order'),
  shown('w1', 'Wasserstein distance in standard deviations; NULL for values without an order'),
  shown('missing', 'Change of the share without a value'),
  shown('unseen', 'Change of the share with a value that the reference does not have'),
  shown('reconstruction_error', 'Change of how the features hang together; only where feature = *'),
  PROFILE,
]

const REASONS: readonly Column[] = [
  ...WINDOW,
  VERSION,
  ROLE,
  SEGMENT,
  SUBJECT,
  FEATURE,
  ['bin', 'UInt32', 'Place of the bin, from 1', 'bin'],
  ['label', 'String', 'The bin in words', 'p.labels[bin]'],
  ['contribution', 'Float64', 'To the PSI', 'contribution'],
  ['share_of_psi', 'Float64', 'contribution / PSI', 'contribution / t.value'],
  ['psi', 'Float64', 'Of the window', 't.value'],
  ['n', 'UInt64', 'Predictions that were counted'],
  CLOSED,
  PROFILE,
]

const PANES: readonly Column[] = [
  PANE,
  VERSION,
  ROLE,
  SEGMENT,
  SUBJECT,
  ['feature', 'String', 'Name of the feature, or score'],
  ['n', 'UInt64', 'Predictions of the pane'],
  ['counts', 'Array(UInt64)', 'How often each of labels was there; missing is the last'],
  ['reference_counts', 'Array(UInt64)', 'How often the whole reference had it', 'p.reference'],
  ['labels', 'Array(String)', 'What is counted, in words', 'p.labels'],
  PROFILE,
  ['computed_at', INSTANT, 'When the pane was computed last'],
]

const BINS: readonly Column[] = [
  PANE,
  VERSION,
  ROLE,
  SEGMENT,
  SUBJECT,
  ['feature', 'String', 'Name of the feature, or score'],
  ['bin', 'UInt32', 'Place of the bin, from 1', 'bin'],
  ['label', 'String', 'The bin in words', 'p.labels[bin]'],
  ['rows', 'UInt64', 'Predictions of the pane in this bin', 'count_'],
  ['pane_rows', 'UInt64', 'Predictions of the pane', 't.n'],
  [
    'reference_share',
    'Float64',
    'Share of the whole reference in this bin',
    'p.reference[bin] / arraySum(p.reference)',
  ],
  PROFILE,
]

const QUALITY: readonly Column[] = [
  ...WINDOW,
  ['model', 'String', 'Name of the model'],
  VERSION,
  ROLE,
  SEGMENT,
  [
    'metric',
    'String',
    'auc, log_loss, brier, ece, precision, recall, f1, accuracy, mae, rmse, coverage, estimated_auc, auc_gap, ...',
  ],
  ['value', 'Float64', 'Of the metric'],
  ['standard_error', 'Float64', 'NaN where it is not known'],
  ['low', 'Float64', 'Lower end of the 95 % interval; NaN where it is not known', 't.value - 1.96 * t.standard_error'],
  ['high', 'Float64', 'Upper end', 't.value + 1.96 * t.standard_error'],
  ['n', 'UInt64', 'Predictions of the window'],
  ['known', 'UInt64', 'Of these, those with a label', 't.labels'],
  ['coverage', 'Float64', 'known / n: with little of it, quick labels speak for all'],
  ['status', 'String', 'ok or insufficient_data'],
  CLOSED,
  ['params', 'Map(String, String)', 'What the metric was computed with'],
]

const BY_LAG: readonly Column[] = [
  ...QUALITY.slice(0, 6),
  [
    'known_after_hours',
    'Nullable(UInt16)',
    'Only labels that came within so many hours of the event; NULL = all that is known today',
    `nullIf(t.known_after_hours, ${NONE})`,
  ],
  ...QUALITY.slice(6),
]

const OUTCOMES: readonly Column[] = [
  PANE,
  ['model', 'String', 'Name of the model'],
  VERSION,
  ROLE,
  SEGMENT,
  [
    'lag_hours',
    'Nullable(UInt16)',
    'Whole hours from the event to its label; NULL = no label yet',
    `nullIf(t.lag_hours, ${NONE})`,
  ],
  ['label_kind', 'String', 'boolean, class, number; empty = no label yet', 't.kind'],
  ['score_bin', 'UInt16', `Of ${SCORE_BINS} between 0 and 1, from 0`, 'bin - 1'],
  ['score_from', 'Float64', 'Lower end of the bin', `(bin - 1) / ${SCORE_BINS}`],
  ['score_to', 'Float64', 'Upper end of the bin', `bin / ${SCORE_BINS}`],
  ['predictions', 'UInt64', 'With a score in this bin', 't.counts[bin]'],
  ['score_sum', 'Float64', 'Sum of their scores', 't.score_sums[bin]'],
  ['positive', 'UInt64', 'That turned out true', 't.positive[bin]'],
  ['negative', 'UInt64', 'That turned out not to be', 't.negative[bin]'],
]

const CHALLENGERS: readonly Column[] = [
  ...WINDOW,
  ['model', 'String', 'Name of the model'],
  ['champion', 'String', 'The version that was served', "t.params['champion']"],
  ['challenger', 'String', 'The shadow version', 't.model_version'],
  ['metric', 'String', 'auc_gain, log_loss_gain, brier_gain, absolute_error_gain, squared_error_gain'],
  ['gain', 'Float64', 'Positive: the challenger is better', 't.value'],
  ['standard_error', 'Float64', 'Of the gain'],
  [
    'p_value',
    'Nullable(Float64)',
    'Of the paired test that there is no difference',
    "toFloat64OrNull(t.params['p_value'])",
  ],
  ['test', 'String', 'Name of the test', "t.params['test']"],
  ['champion_value', 'Nullable(Float64)', 'Of the metric', "toFloat64OrNull(t.params['champion_value'])"],
  ['challenger_value', 'Nullable(Float64)', 'Of the metric', "toFloat64OrNull(t.params['challenger_value'])"],
  ['pairs', 'UInt64', 'Labelled events that both have scored', 't.n'],
  ['status', 'String', 'ok or insufficient_data'],
  CLOSED,
]

const ALERTS: readonly Column[] = [
  ['at', INSTANT, 'End of the window that decided'],
  ['rule', 'String', 'As pipeline.ts names it'],
  ['state', 'String', 'firing or resolved'],
  ['severity', 'String', 'info, warning, critical'],
  ['message', 'String', 'What happened, with its figures'],
  ['evidence_sql', 'String', 'The query that shows it'],
  ['written_at', INSTANT, 'When it was said'],
]

const latest = (column: string): string => `argMax(t.${column}, (t.at, t.kafka_offset))`

const ALERTS_NOW: readonly Column[] = [
  ['rule', 'String', 'As pipeline.ts names it'],
  ['severity', 'String', 'info, warning, critical', latest('severity')],
  ['since', INSTANT, 'End of the window that decided', latest('at')],
  ['message', 'String', 'What happened, with its figures', latest('message')],
  ['evidence_sql', 'String', 'The query that shows it', latest('evidence_sql')],
]
