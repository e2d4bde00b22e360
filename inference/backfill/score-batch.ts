import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import type { ServedVersion } from '../rollout/routes.ts'
import { scoreRows } from '../score-rows.ts'
import type { HistoryRow } from './history.ts'
import type { BackfillRun } from './runs.ts'

export interface BackfillWork {
  readonly pipeline: CompiledPipeline
  readonly version: ServedVersion
  readonly clickhouse: ClickHouseClient
  readonly run: BackfillRun
  /** Rows a second at most; null = as fast as it goes. */
  readonly rate: number | null
  /** Resolves when the live pipeline has so little to do that a batch may be scored. */
  readonly mayGoOn: (pipeline: CompiledPipeline) => Promise<void>
  /** Tries again while a dependency is down. */
  readonly patiently: <T>(what: string, work: () => Promise<T>) => Promise<T>
  readonly say: (line: string) => void
}

const BATCH_ROWS = 8_192
const SAY_EVERY_MS = 10_000

export function batchRows({ rate }: Pick<BackfillWork, 'rate'>): number {
  return Math.max(1, Math.min(BATCH_ROWS, Math.floor(rate ?? BATCH_ROWS)))
}

/** Answers how many of the rows the version has no answer for. */
export async function storeScores(
  { version, pipeline, clickhouse, run }: BackfillWork,
  rows: readonly HistoryRow[],
): Promise<number> {
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

/** Does a batch when the live pipeline lets it, and then waits as long as the rate asks for. */
export async function paced<T extends { readonly rows: number }>(
  { rate, pipeline, mayGoOn, patiently }: BackfillWork,
  batch: () => Promise<T>,
): Promise<T> {
  await mayGoOn(pipeline)
  const began = systemClock.monotonic()
  const done = await patiently('a batch', batch)
  if (rate !== null) {
    await systemClock.sleep(Math.max(0, began + (1_000 * done.rows) / rate - systemClock.monotonic()))
  }
  return done
}

/** Says where a run is, now and then. */
export function createProgress({ say }: Pick<BackfillWork, 'say'>): (line: () => string) => void {
  let saidAt = systemClock.monotonic()
  return (line) => {
    if (systemClock.monotonic() - saidAt < SAY_EVERY_MS) return
    saidAt = systemClock.monotonic()
    say(line())
  }
}
