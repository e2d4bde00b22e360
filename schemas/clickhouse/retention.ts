/**
 * How long rows are kept, by when Kafka took them, and those of a backfill by when they were scored: never by when an event happened, or
 * history that is replayed would vanish.
 */

/** Days that a table's rows are kept; null = for ever. */
export interface Retention {
  readonly table: RetainedTable
  readonly days: number | null
}

/**
 * Fewest days of each table. A row that is older when it is inserted vanishes without a word, and an audit would miss it: so rows are
 * kept for longer than the topic keeps the records that they are made of. The control log is an audit trail and stays.
 */
const LEAST_DAYS = {
  predictions: 8,
  shadow_predictions: 2,
  labels: 8,
  dead_letters: 31,
  stage_metrics: 2,
  gateway_requests: 31,
  alerts: 31,
  // of no topic: only a run that takes longer than this would lose its first rows before it ends
  backfill_predictions: 2,
} as const

type RetainedTable = keyof typeof LEAST_DAYS

/** ClickHouse counts a row's last second in 32 bits: a time beyond February 2106 is one long ago, and the row would go at once. */
const MAX_DAYS = 10_950
const WHOLE_PARTS = new Set<RetainedTable>([
  'predictions',
  'shadow_predictions',
  'stage_metrics',
  'gateway_requests',
  'backfill_predictions',
])

/** Of `predictions=90d` or `labels=forever`. Throws RangeError that says what is wrong with it. */
export function parseRetention(text: string): Retention {
  const [, table = '', time = ''] = /^(\w+)=(\w+)$/.exec(text) ?? []
  const tables = Object.keys(LEAST_DAYS).join(', ')
  if (!isRetained(table)) throw new RangeError(`${text}: <table>=<days>d or <table>=forever, of ${tables}`)
  if (time === 'forever') return { table, days: null }
  const days = Number(/^(\d+)d$/.exec(time)?.[1])
  const least = LEAST_DAYS[table]
  if (!(days >= least && days <= MAX_DAYS)) {
    const why = days < least ? ': what comes in late would be older than that when it is stored, and vanish' : ''
    throw new RangeError(
      `${text}: ${table} are kept for ${least} to ${MAX_DAYS} days, as in ${table}=90d, or forever${why}`,
    )
  }
  return { table, days }
}

function isRetained(table: string): table is RetainedTable {
  return Object.hasOwn(LEAST_DAYS, table)
}

/** `keptDays` = as it is now, by `keptDaysOf`; undefined = not known. Empty when nothing has to be done. */
export function retentionStatements(
  { table, days }: Retention,
  keptDays: number | null | undefined,
): readonly string[] {
  if (keptDays === days) return []
  if (days === null) return [`ALTER TABLE ${table} REMOVE TTL`]
  return [
    // a partition that is over goes as whole files; a table that is not partitioned is cleaned by its merges
    ...(WHOLE_PARTS.has(table) ? [`ALTER TABLE ${table} MODIFY SETTING ttl_only_drop_parts = 1`] : []),
    `ALTER TABLE ${table} MODIFY TTL toDateTime(${timeOf(table)}) + INTERVAL ${days} DAY`,
  ]
}

const timeOf = (table: RetainedTable): string => (table === 'backfill_predictions' ? 'scored_at' : 'written_at')

/** As `keptDaysOf`, of a table of the client's database; null also when it is not there. */
export async function readKeptDays(
  client: { rows<T>(sql: string, parameters: Readonly<Record<string, unknown>>): Promise<readonly T[]> },
  table: RetainedTable,
): Promise<number | null | undefined> {
  const [found] = await client.rows<{ readonly engine: string }>(
    'SELECT engine_full AS engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
    { table },
  )
  return keptDaysOf(found?.engine ?? '')
}

/** From `system.tables.engine_full`; undefined = a rule that somebody else made. */
export function keptDaysOf(engine: string): number | null | undefined {
  if (!/\bTTL\b/.test(engine)) return null
  const days = /\bTTL toDateTime\((?:written_at|scored_at)\) \+ toIntervalDay\((\d+)\)(?: SETTINGS|$)/.exec(engine)?.[1]
  return days === undefined ? undefined : Number(days)
}
