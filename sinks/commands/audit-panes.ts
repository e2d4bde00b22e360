import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { sqlText } from '../../schemas/clickhouse/sql-text.ts'
import { storedLanes } from '../drift/panes/pane-progress.ts'
import { type Reconciled, reconcilePanes } from '../drift/panes/reconcile.ts'

/**
 * Compares all panes of the profile that was counted by last with the predictions, each once. Null when nothing was counted yet. Rejects with
 * what the client rejects with.
 */
export async function auditPanes(
  clickhouse: Pick<ClickHouseClient, 'rows'>,
  pipeline: string,
): Promise<(Reconciled & { readonly profile: string }) | null> {
  const [counted] = await clickhouse.rows<{ profile: string; seconds: number; featureSet: string }>(
    `SELECT progress.profile AS profile, toUInt32(progress.seconds) AS seconds, profiles.feature_set AS featureSet FROM
     (
       SELECT arrayStringConcat(arraySlice(splitByChar('/', toString(panes)), 2, -1), '/') AS profile,
         splitByChar('/', toString(panes))[-1] AS seconds, computed_at
       FROM pane_progress WHERE pipeline = ${sqlText(pipeline)} AND startsWith(panes, 'features/')
       ORDER BY computed_at DESC LIMIT 1
     ) AS progress
     INNER JOIN
     (SELECT DISTINCT profile, feature_set FROM feature_profiles WHERE pipeline = ${sqlText(pipeline)}) AS profiles
     ON profiles.profile = progress.profile`,
  )
  if (counted === undefined) return null
  const { profile, seconds, featureSet } = counted
  const of = { pipeline, profile, paneMs: seconds * 1_000, content: { featureSet } }
  return { profile, ...(await reconcilePanes(clickhouse, of, await storedLanes(clickhouse, pipeline), null)) }
}
