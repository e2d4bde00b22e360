import { sqlName } from './sql-text.ts'

/** The DDL of this folder for a replicated cluster. */

const NAME = '(?:`(?:[^`\\\\]|\\\\.)+`|\\w+)'
const CREATE = new RegExp(
  `^(CREATE (?:OR REPLACE )?(?:TABLE|(?:MATERIALIZED )?VIEW|DATABASE)(?: IF NOT EXISTS)? ${NAME})`,
  'gm',
)
const ALTER = new RegExp(`^(ALTER TABLE ${NAME})`, 'gm')
const ENGINE = /^(ENGINE = )(\w*MergeTree)(?:\(([^)]*)\))?/gm
/** One place in Keeper for each table and shard: a table that is dropped and made again has another. */
const REPLICA = "'/clickhouse/tables/{uuid}/{shard}', '{replica}'"

/**
 * A statement of a migration or a view as every replica of the cluster has to run it: ON CLUSTER, Replicated engines, and the tokens
 * of inserts remembered by Keeper. `{shard}` and `{replica}` are macros of the servers.
 */
export function onCluster(sql: string, cluster: string): string {
  const on = `$1 ON CLUSTER ${sqlName(cluster)}`
  return sql
    .replace(CREATE, on)
    .replace(ALTER, on)
    .replace(
      ENGINE,
      (_, engine: string, family: string, version?: string) =>
        `${engine}Replicated${family}(${version === undefined ? REPLICA : `${REPLICA}, ${version}`})`,
    )
    .replaceAll('non_replicated_deduplication_window', 'replicated_deduplication_window')
}
