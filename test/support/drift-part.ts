import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'
import type { CompiledMonitor } from '../../schemas/pipeline/monitor.ts'
import { createFeatureDrift } from '../../sinks/drift/feature-drift.ts'
import type { PaneFault } from '../../sinks/drift/panes/reconcile.ts'
import { createSeenUntil } from '../../sinks/drift/seen-until.ts'
import { MONITOR } from './drift-data.ts'
import { manualClock } from './manual-clock.ts'

/** The part that makes panes and scores, on a database, with what it said. */
export function driftPart(
  clickhouse: Pick<ClickHouseClient, 'rows' | 'command' | 'insert' | 'insertBody'>,
  profile: ProfileEntry,
  monitor: Pick<CompiledMonitor, 'paneMs' | 'windowMs' | 'minRows'> = MONITOR,
) {
  const clock = manualClock()
  const faults: PaneFault[] = []
  const { pipeline } = profile
  const said = { panes: 0, windows: 0, otherFeatures: 0, faults }
  const seenUntil = createSeenUntil(clickhouse, pipeline)
  const part = createFeatureDrift({
    ...{ pipeline, featureSet: 'set-1', monitor, clickhouse, clock },
    instruments: {
      computed: (panes) => {
        said.panes += panes
      },
      scored: (windows) => {
        said.windows += windows
      },
      differ: (found) => {
        faults.push(...found)
      },
      otherFeatures: () => {
        said.otherFeatures += 1
      },
    },
  })
  return {
    part,
    clock,
    said,
    /** Rounds until there is nothing more to do, a minute after the last ones. */
    async catchUp(): Promise<void> {
      clock.advance(60_000)
      const { signal } = new AbortController()
      while (await part.round({ profile, seenUntil: await seenUntil(), signal }));
    },
  }
}

/**
 * Predictions FINAL that are counted, and how many any of the subjects' panes add up to: one number when all of them agree. `inSegments` the
 * same of predictions with a segment and of the segments' panes.
 */
export async function paneTotals(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  { pipeline, profile }: Pick<ProfileEntry, 'pipeline' | 'profile'>,
) {
  const numbers = async (sql: string): Promise<readonly number[]> => {
    const rows = await clickhouse.rows<{ n: number }>(`SELECT DISTINCT toFloat64(n) AS n FROM (${sql}) ORDER BY n`, {
      pipeline,
      profile,
    })
    return rows.map(({ n }) => n)
  }
  const of = async (segments: string, rows: string) => {
    const named = `pipeline = {pipeline:String} AND profile = {profile:String} AND segment ${segments}`
    const [predictions] = await numbers(
      `SELECT count() AS n FROM predictions FINAL
       WHERE pipeline = {pipeline:String} AND role != 'shadow' AND feature_set = 'set-1' ${rows}`,
    )
    const counted = await numbers(
      `SELECT sum(n) AS n FROM moment_panes FINAL WHERE ${named} UNION ALL
       SELECT sum(n) AS n FROM feature_panes FINAL WHERE ${named} GROUP BY subject, position UNION ALL
       SELECT sum(arraySum(counts)) AS n FROM feature_panes FINAL WHERE ${named} GROUP BY subject, position`,
    )
    return { predictions, counted }
  }
  return { ...(await of("= '*'", '')), inSegments: await of("!= '*'", "AND segment != ''") }
}
