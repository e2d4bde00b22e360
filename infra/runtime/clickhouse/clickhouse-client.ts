import { randomUUID } from 'node:crypto'
import { ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { fatal, MillraceError, rejected, retryable } from '../errors.ts'

export interface ClickHouseConfig {
  readonly url: string
  readonly user: string
  readonly password?: string | undefined
  readonly database: string
  /** PEM. */
  readonly tls?: { readonly ca?: string } | undefined
  /** A request without an answer for this long counts as failed; what it did is then unknown. */
  readonly requestTimeoutMs: number
  /** Requests at once. */
  readonly maxConnections: number
}

interface InsertOptions {
  readonly queryId?: string
  /** Inserts with one token are stored once: it must name the very rows, or rows are lost. Default: another each time. */
  readonly token?: string
}

/**
 * ClickHouse over HTTP. Calls may overlap. Each may reject with
 *
 *   clickhouse_unavailable   (retry)  not reached, no answer, or too busy; what was asked for may have happened
 *   clickhouse_refused_rows  (reject) at least one row of an insert does not fit its table; none was stored
 *   clickhouse_unknown_database, clickhouse_refused (crash) wrong name, user, rights or schema
 *   clickhouse_error         (crash)  anything else
 */
export interface ClickHouseClient {
  ping(): Promise<void>
  /** One statement without an answer. */
  command(sql: string): Promise<void>
  /**
   * Rows of a query, by column name; `{name:Type}` in it stands for a parameter. Integers above 32 bits and values that
   * are not finite come as text.
   */
  rows<T>(sql: string, parameters?: Readonly<Record<string, unknown>>): Promise<readonly T[]>
  /**
   * Inserts rows with the named columns, all or none as long as they stay below about a million. Numbers that are not
   * finite are stored as they are; times are epoch milliseconds. Resolves when the server has answered.
   */
  insert(table: string, columns: readonly string[], rows: readonly object[], options?: InsertOptions): Promise<void>
  close(): Promise<void>
}

const SETTINGS = {
  async_insert: 0,
  // an unanswered request must not be half of an answer
  wait_end_of_query: 1,
  output_format_json_quote_64bit_integers: 1,
  output_format_json_quote_denormals: 1,
} as const

/** Fields without a column and nulls in a text column are refused; a null in a number's column is stored as 0 or NaN. */
const INSERT_SETTINGS = {
  input_format_skip_unknown_fields: 0,
  input_format_null_as_default: 0,
  // a topic replayed with its producers' own timestamps may span more days than the default allows
  max_partitions_per_insert_block: '0',
} as const

export function createClickHouse(config: ClickHouseConfig): ClickHouseClient {
  const { requestTimeoutMs } = config
  const client = createClient({
    url: config.url,
    username: config.user,
    password: config.password ?? '',
    database: config.database,
    application: 'millrace',
    // the signal below comes first, so that a timeout is known by its own cause
    request_timeout: requestTimeoutMs + 5_000,
    max_open_connections: config.maxConnections,
    compression: { request: false, response: false },
    log: { level: ClickHouseLogLevel.OFF },
    clickhouse_settings: SETTINGS,
    ...(config.tls?.ca === undefined ? {} : { tls: { ca_cert: Buffer.from(config.tls.ca) } }),
  })

  async function call<T>(what: string, request: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const signal = AbortSignal.timeout(requestTimeoutMs)
    try {
      return await request(signal)
    } catch (error) {
      if (signal.aborted) {
        throw retryable('clickhouse_unavailable', `${what}: no answer within ${requestTimeoutMs} ms`, error)
      }
      throw clickHouseError(error, what)
    }
  }

  return {
    async ping() {
      // a real query: the server's /ping says nothing about user and database
      await call('ping', (abort_signal) => client.command({ query: 'SELECT 1', abort_signal }))
    },

    async command(sql) {
      await call('command', (abort_signal) => client.command({ query: sql, abort_signal }))
    },

    rows: <T>(sql: string, parameters: Readonly<Record<string, unknown>> = {}) =>
      call('query', async (abort_signal) => {
        const query_params = { ...parameters }
        const answer = await client.query({ query: sql, format: 'JSONEachRow', query_params, abort_signal })
        return await answer.json<T>()
      }),

    async insert(table, columns, rows, options = {}) {
      if (rows.length === 0) return
      const [first, ...others] = columns
      if (first === undefined) throw new RangeError('an insert names its columns')
      await call(`insert into ${table}`, (abort_signal) =>
        client.insert({
          table,
          columns: [first, ...others],
          values: rows.map(finiteAsNumbers),
          format: 'JSONEachRow',
          query_id: options.queryId ?? randomUUID(),
          abort_signal,
          clickhouse_settings: {
            ...INSERT_SETTINGS,
            // without a token of its own the server would drop an insert whose rows it has seen
            insert_deduplication_token: options.token ?? randomUUID(),
          },
        }),
      )
    },

    close: () => client.close(),
  }
}

/** JSON has no NaN and no infinity: they travel as text, which ClickHouse reads as numbers. */
function finiteAsNumbers(row: object): object {
  return Object.fromEntries(Object.entries(row).map(([column, value]) => [column, jsonValue(value)]))
}

function jsonValue(value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  return Array.isArray(value) ? value.map(jsonValue) : value
}

const RETRIED = new Set([
  3, 32, 74, 75, 95, 96, 159, 173, 198, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 252, 254, 279, 285, 286, 319,
  364, 394, 425, 439, 574, 677, 692, 735, 749, 762, 777, 778, 999, 1000,
])
/** Text that cannot be parsed, values out of range, nulls where none may be. */
const REFUSED_ROWS = new Set([
  6, 25, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 128, 130, 131, 321, 349, 376, 407, 467, 632, 691,
])
const REFUSED = new Set([16, 46, 47, 60, 62, 73, 115, 164, 192, 193, 194, 291, 472, 492, 495, 497, 511, 516, 720])
const UNKNOWN_DATABASE = 81

/** The fate of whatever the client throws, by ClickHouse's own error code or the socket's. */
function clickHouseError(error: unknown, what: string): MillraceError {
  if (error instanceof MillraceError) return error
  const message = `${what}: ${(error as Error).message}`
  if (error instanceof ClickHouseError) {
    const code = Number(error.code)
    const coded = `${message} (${error.type ?? 'ClickHouse'} ${code})`
    if (RETRIED.has(code)) return retryable('clickhouse_unavailable', coded, error)
    if (REFUSED_ROWS.has(code)) return rejected('clickhouse_refused_rows', coded, error)
    if (code === UNKNOWN_DATABASE) return fatal('clickhouse_unknown_database', coded, error)
    if (REFUSED.has(code)) return fatal('clickhouse_refused', coded, error)
    return fatal('clickhouse_error', coded, error)
  }
  // the socket's errors have a system code; an answer that is not ClickHouse's (a proxy's page) comes as a bare Error
  const isTransport = error instanceof Error && ('code' in error || error.constructor === Error)
  return isTransport
    ? retryable('clickhouse_unavailable', message, error)
    : fatal('clickhouse_client_failed', message, error)
}
