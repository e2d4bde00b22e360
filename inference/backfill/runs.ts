import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { readKeptDays } from '../../schemas/clickhouse/retention.ts'

/** What a run scores, by what; times epoch ms, `from` inclusive, `to` not. */
export interface BackfillRun {
  readonly pipeline: string
  readonly run: string
  /** Whose features are scored: those stored with predictions, or those computed of events now. */
  readonly source: 'stored' | 'events'
  readonly model: string
  readonly version: string
  /** SHA-256 of the model file, hex. */
  readonly digest: string
  readonly featureSet: string
  readonly from: number
  readonly to: number
  /** Of the pipeline's monitor: from this score on a prediction is positive. */
  readonly threshold: number
}

const COLUMNS = [
  'pipeline',
  'run',
  'source',
  'model',
  'model_version',
  'model_digest',
  'feature_set',
  'from_time',
  'to_time',
  'threshold',
  'started_at',
]

type Client = Pick<ClickHouseClient, 'rows' | 'insert'>

/** A run that has begun. */
export interface KnownRun extends BackfillRun {
  /** Epoch ms. */
  readonly startedAt: number
}

const DAY_MS = 86_400_000

/** Runs of a name, of one pipeline or of all. */
export async function findRuns(client: Client, run: string, pipeline: string | null): Promise<readonly KnownRun[]> {
  const rows = await client.rows<
    Omit<KnownRun, 'from' | 'to' | 'startedAt'> & Readonly<Record<'from' | 'to' | 'startedAt', string>>
  >(
    `SELECT r.pipeline AS pipeline, r.run AS run, toString(r.source) AS source, model, model_version AS version, model_digest AS digest, feature_set AS featureSet,
  toUnixTimestamp64Milli(from_time) AS from, toUnixTimestamp64Milli(to_time) AS to, threshold, toUnixTimestamp64Milli(started_at) AS startedAt
FROM backfill_runs AS r FINAL WHERE r.run = {run:String} AND ({pipeline:String} = '' OR r.pipeline = {pipeline:String})
ORDER BY pipeline`,
    { run, pipeline: pipeline ?? '' },
  )
  return rows.map((row) => ({
    ...row,
    from: Number(row.from),
    to: Number(row.to),
    startedAt: Number(row.startedAt),
  }))
}

/**
 * Rejects with `run_expired` (crash) when the run began longer ago than its rows are kept: what has gone of it would neither be scored again
 * nor be compared.
 */
export async function requireRows(client: Client, { run, startedAt }: KnownRun, now: number): Promise<void> {
  const days = (await readKeptDays(client, 'backfill_predictions')) ?? null
  if (days === null || now - startedAt < days * DAY_MS) return
  const began = new Date(startedAt).toISOString().slice(0, 10)
  throw fatal(
    'run_expired',
    `run ${run} began on ${began}, and rows are kept for ${days} days: give a new one a name with --run`,
  )
}

/**
 * Notes a run that is new; one that has begun must be the same but for the threshold, which stays what it was. Answers whether it is new.
 * Rejects with `run_differs` and as `requireRows` does (crash).
 */
export async function beginRun(client: Client, wanted: BackfillRun, startedAt: number): Promise<boolean> {
  const [known] = await findRuns(client, wanted.run, wanted.pipeline)
  if (known !== undefined) {
    const fields = ['source', 'model', 'version', 'digest', 'featureSet', 'from', 'to'] as const
    const differing = fields.find((field) => known[field] !== wanted[field])
    if (differing === undefined) {
      await requireRows(client, known, startedAt)
      return false
    }
    const message = `run ${wanted.run} has another ${differing} (${known[differing]}, not ${wanted[differing]}): give this one a name with --run`
    throw fatal('run_differs', message)
  }
  const { pipeline, run, source, model, version, digest, featureSet, from, to, threshold } = wanted
  const row = { pipeline, run, source, model, model_version: version, model_digest: digest, feature_set: featureSet }
  const times = { from_time: from, to_time: to, threshold, started_at: startedAt }
  await client.insert('backfill_runs', COLUMNS, [{ ...row, ...times }])
  return true
}
