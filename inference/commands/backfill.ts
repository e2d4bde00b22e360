import { createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { countOthers } from '../backfill/history.ts'
import { openVersion } from '../backfill/open-version.ts'
import { type BackfillRun, beginRun } from '../backfill/runs.ts'
import type { BackfillWork } from '../backfill/score-batch.ts'
import { type EventSource, scoreEvents } from '../backfill/score-events.ts'
import { scoreStored } from '../backfill/score-stored.ts'
import type { ServedVersion } from '../rollout/routes.ts'

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

export interface BackfillDeps extends Pick<BackfillWork, 'mayGoOn' | 'patiently' | 'say'> {
  readonly control: ControlLog
  readonly env: NodeJS.ProcessEnv
  /** Null = the features that are stored with predictions. */
  readonly events: EventSource | null
}

export interface BackfillDone {
  readonly pipeline: string
  readonly run: string
  /** Scored now, by this process. */
  readonly rows: number
  /** Of them those that the version gave no answer for. */
  readonly problems: number
  /** Events that the processors make no vector of. */
  readonly refused: number
  /** Stored predictions of the time that are of another feature set. */
  readonly others: number
}

/** A day's rows may have to be merged. */
const STATEMENT_TIMEOUT_MS = 600_000

/**
 * Scores a pipeline's history through a version, into backfill_predictions. A run that was interrupted goes on where it was; one that is
 * done scores what has come since. Rejects with `unknown_version`, `invalid_model`, `model_mismatch`, `run_differs`,
 * `run_expired` (crash).
 */
export async function backfill(options: BackfillOptions, deps: BackfillDeps): Promise<BackfillDone> {
  const { env, control, events } = deps
  if (options.from >= options.to) throw fatal('invalid_option', '--from must be before --to')
  const pipeline = await loadPipeline(options.folder)
  const { value: version, stop } = await openVersion(pipeline, options.version, { control, env, clock: systemClock })
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), STATEMENT_TIMEOUT_MS))
  try {
    const run = runOf(pipeline, version, options, events === null ? 'stored' : 'events')
    if (events !== null && run.featureSet !== pipeline.featureSet.digest) {
      throw fatal('model_mismatch', `${options.version} takes another feature set than the pipeline computes of events`)
    }
    const isNew = await beginRun(clickhouse, run, systemClock.now())
    deps.say(`${isNew ? 'begins' : 'goes on'}: run ${run.run}`)
    const work = { ...deps, pipeline, version, clickhouse, run, rate: options.rate }
    const { pipeline: name, run: named } = run
    if (events !== null) return { pipeline: name, run: named, ...(await scoreEvents(work, events)), others: 0 }
    const counts = await scoreStored(work)
    return { pipeline: name, run: named, ...counts, refused: 0, others: await countOthers(clickhouse, run) }
  } finally {
    await clickhouse.close()
    await stop()
  }
}

function runOf(
  pipeline: CompiledPipeline,
  { manifest }: ServedVersion,
  options: BackfillOptions,
  source: BackfillRun['source'],
): BackfillRun {
  const { name: model, version, sha256: digest, featureSet } = manifest
  const { from, to, run } = options
  const day = (at: number): string => new Date(at).toISOString().replace('T00:00:00.000Z', '')
  return {
    pipeline: pipeline.name,
    run: run ?? `${pipeline.name}-${version}-${day(from)}-${day(to)}${source === 'stored' ? '' : `-${source}`}`,
    source,
    model,
    version,
    digest,
    featureSet: featureSet.digest,
    from,
    to,
    threshold: pipeline.monitor.threshold,
  }
}
