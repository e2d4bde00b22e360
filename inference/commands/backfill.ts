import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import {
  countOthers,
  type HistoryRow,
  nextOffset,
  noteProgress,
  readHistory,
  remaining,
  type Stretch,
} from '../backfill/history.ts'
import { openVersion } from '../backfill/open-version.ts'
import { type BackfillRun, beginRun } from '../backfill/runs.ts'
import type { ServedVersion } from '../rollout/routes.ts'
import { scoreRows } from '../score-rows.ts'

export interface BackfillOptions {
  /** Of the pipeline. */
  readonly folder: string
  /** `<model>/<version>`. */
  readonly version: string
  /** Event times, epoch ms; `to` is not in it. */
  readonly from: number
  readonly to: number
  /** Null = named by what it scores, so that the same command goes on with the same run. */
  readonly run: string | null
  /** Rows a second at most; null = as fast as it goes. */
  readonly rate: number | null
}

export interface BackfillDeps {
  readonly control: ControlLog
  readonly env: NodeJS.ProcessEnv
  /** Resolves when the live pipeline has so little to do that a batch may be scored. */
  readonly mayGoOn: (pipeline: CompiledPipeline) => Promise<void>
  /** Tries again while a dependency is down. */
  readonly patiently: <T>(what: string, work: () => Promise<T>) => Promise<T>
  readonly say: (line: string) => void
}

export interface BackfillDone {
  readonly pipeline: string
  readonly run: string
  /** Scored now, by this process. */
  readonly rows: number
  /** Of them those that the version gave no answer for. */
  readonly problems: number
  /** Predictions of the time that are of another feature set. */
  readonly others: number
}

const BATCH_ROWS = 8_192
/** A day's rows may have to be merged. */
const STATEMENT_TIMEOUT_MS = 600_000
const SAY_EVERY_MS = 10_000

/**
 * Scores the stored features of a pipeline's history through a version, into backfill_predictions. A run that was interrupted goes on
 * where it was; one that is done scores what has come since. Rejects with `unknown_version`, `invalid_model`, `run_differs` (crash).
 */
export async function backfill(options: BackfillOptions, deps: BackfillDeps): Promise<BackfillDone> {
  const { env, control } = deps
  if (options.from >= options.to) throw fatal('invalid_option', '--from must be before --to')
  const pipeline = await loadPipeline(options.folder)
  const { value: version, stop } = await openVersion(pipeline, options.version, { control, env, clock: systemClock })
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), STATEMENT_TIMEOUT_MS))
  try {
    const run = runOf(pipeline, version, options)
    const isNew = await beginRun(clickhouse, run, systemClock.now())
    deps.say(`${isNew ? 'begins' : 'goes on'}: run ${run.run}`)
    const counts = await scoreHistory({ ...deps, pipeline, version, clickhouse, run, rate: options.rate })
    return { pipeline: run.pipeline, run: run.run, ...counts, others: await countOthers(clickhouse, run) }
  } finally {
    await clickhouse.close()
    await stop()
  }
}

function runOf(pipeline: CompiledPipeline, { manifest }: ServedVersion, options: BackfillOptions): BackfillRun {
  const { name: model, version, sha256: digest, featureSet } = manifest
  const { from, to, run } = options
  const day = (at: number): string => new Date(at).toISOString().replace('T00:00:00.000Z', '')
  return {
    pipeline: pipeline.name,
    run: run ?? `${pipeline.name}-${version}-${day(from)}-${day(to)}`,
    model,
    version,
    digest,
    featureSet: featureSet.digest,
    from,
    to,
    threshold: pipeline.monitor.threshold,
  }
}

type Work = BackfillDeps & {
  readonly pipeline: CompiledPipeline
  readonly version: ServedVersion
  readonly clickhouse: ClickHouseClient
  readonly run: BackfillRun
  readonly rate: number | null
}

interface Counts {
  rows: number
  problems: number
}

async function scoreHistory(work: Work): Promise<Readonly<Counts>> {
  const { clickhouse, run, patiently, say } = work
  const done: Counts = { rows: 0, problems: 0 }
  let saidAt = systemClock.monotonic()
  // what is stored meanwhile is found in the next round
  for (;;) {
    const stretches = await patiently('what is to be scored', () => remaining(clickhouse, run))
    if (stretches.length === 0) return done
    const toDo = done.rows + stretches.reduce((sum, { rows }) => sum + rows, 0)
    for (const stretch of stretches) {
      await scoreStretch(work, stretch, ({ rows, problems }) => {
        done.rows += rows
        done.problems += problems
        if (systemClock.monotonic() - saidAt < SAY_EVERY_MS) return
        saidAt = systemClock.monotonic()
        say(`scored ${done.rows} of ${toDo} rows (${stretch.day}, partition ${stretch.partition})`)
      })
    }
  }
}

async function scoreStretch(work: Work, stretch: Stretch, scored: (batch: Readonly<Counts>) => void): Promise<void> {
  const { clickhouse, run, rate, pipeline, mayGoOn, patiently } = work
  const batchRows = Math.max(1, Math.min(BATCH_ROWS, Math.floor(rate ?? BATCH_ROWS)))
  let at = stretch.first
  while (at <= stretch.last) {
    await mayGoOn(pipeline)
    const began = systemClock.monotonic()
    const offsets = { from: at, to: Math.min(at + batchRows, stretch.last + 1) }
    const batch = await patiently('a batch', async () => {
      const rows = await readHistory(clickhouse, run, stretch, offsets)
      const problems = await storeScores(work, rows)
      const next = rows.length > 0 ? offsets.to : await nextOffset(clickhouse, run, stretch, offsets.to)
      await noteProgress(clickhouse, run, stretch, next)
      return { rows: rows.length, problems, next }
    })
    scored(batch)
    at = batch.next
    if (rate === null) continue
    await systemClock.sleep(Math.max(0, began + (1_000 * batch.rows) / rate - systemClock.monotonic()))
  }
}

/** Answers how many have no answer. */
async function storeScores({ version, pipeline, clickhouse, run }: Work, rows: readonly HistoryRow[]): Promise<number> {
  if (rows.length === 0) return 0
  const scored = await scoreRows(
    version,
    pipeline.model,
    rows.map(({ features }) => features),
  )
  const of = { run: run.run, pipeline: run.pipeline, model: run.model, model_version: run.version }
  const scored_at = systemClock.now()
  const answers = rows.map(({ features: _, ...row }, at) => {
    const result = scored[at]
    if (result === undefined) throw new RangeError(`${scored.length} answers for ${rows.length} rows`)
    const answer = result.ok
      ? { score: result.score, outputs: result.outputs, label: result.label, problem: '' }
      : { score: Number.NaN, outputs: [], label: null, problem: result.reject }
    return { ...of, ...row, ...answer, scored_at }
  })
  await clickhouse.insert('backfill_predictions', Object.keys(answers[0] as object), answers)
  return answers.filter(({ problem }) => problem !== '').length
}
