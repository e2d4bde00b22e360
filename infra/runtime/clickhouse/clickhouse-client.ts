import { randomUUID } from 'node:crypto'
import { Readable, type Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { sqlName } from '../../../schemas/clickhouse/sql-text.ts'
import { fatal, MillraceError, rejected, retryable } from '../errors.ts'
import { answerFate, UNKNOWN_DATABASE, UNKNOWN_TABLE } from './error-fates.ts'

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
  /** Of a body. Default: JSONEachRow, as `jsonRow` encodes a row, one a line. */
  readonly format?: 'JSONEachRow' | 'Native'
}

/**
 * ClickHouse over HTTP. Calls may overlap. Each may reject with
 *
 *   clickhouse_unavailable   (retry)  not reached, no answer, or too busy; what was asked for may have happened
 *   clickhouse_refused_rows  (reject) at least one row of an insert does not fit its table; none was stored
 *   clickhouse_too_large     (reject) the insert as a whole is more than the server takes; none was stored
 *   clickhouse_unknown_database, clickhouse_unknown_table, clickhouse_refused (crash) wrong name, user, rights or schema
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
  /** The same for rows that are encoded. Once it has resolved, nothing reads the body any more. */
  insertBody(table: string, columns: readonly string[], body: Buffer, options?: InsertOptions): Promise<void>
  /**
   * Inserts what a file of one of these formats holds under the names of the columns; what else it holds is left alone. One
   * of the columns missing there is `clickhouse_error`, a value that does not fit `clickhouse_refused_rows`. Part of it may be
   * stored when it rejects.
   */
  insertFile(table: string, columns: readonly string[], format: 'Parquet' | 'Avro', file: Readable): Promise<void>
  /**
   * Writes what a query answers as a file of the format; the server sends it once it has all of it. The file is whole when this
   * resolves; it is ended or destroyed by then. `settings` are the query's own.
   */
  queryFile(
    sql: string,
    format: 'Parquet',
    file: Writable,
    settings?: Readonly<Record<string, string | number>>,
  ): Promise<void>
  close(): Promise<void>
}

const SETTINGS = {
  async_insert: 0,
  // an unanswered request must not be half of an answer
  wait_end_of_query: 1,
  output_format_json_quote_64bit_integers: 1,
  output_format_json_quote_denormals: 1,
} as const

/** The server's own defaults, said with each insert because its settings may be others. */
const INSERT_BLOCK = { rows: 1_048_449, bytes: 268_402_944 } as const

/** Fields without a column and nulls in a text column are refused; a null in a number's column is stored as 0 or NaN. */
const INSERT_SETTINGS = {
  input_format_skip_unknown_fields: 0,
  input_format_null_as_default: 0,
  // by default, but a profile may say otherwise: a token counts, in the tables behind a view too
  insert_deduplicate: 1,
  deduplicate_blocks_in_dependent_materialized_views: 1,
  // one insert is one block, and so stored as a whole, up to these; whoever inserts keeps below
  max_insert_block_size: String(INSERT_BLOCK.rows),
  min_insert_block_size_rows: String(INSERT_BLOCK.rows),
  min_insert_block_size_bytes: String(INSERT_BLOCK.bytes),
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

  const insertBody: ClickHouseClient['insertBody'] = async (table, columns, body, options = {}) => {
    if (body.length === 0) return
    if (columns.length === 0) throw new RangeError('an insert names its columns')
    await call(`insert into ${table}`, async (abort_signal) => {
      const { stream } = await client.exec({
        query: `INSERT INTO ${table} (${columns.join(', ')}) FORMAT ${options.format ?? 'JSONEachRow'}`,
        values: Readable.from([body], { objectMode: false }),
        query_id: options.queryId ?? randomUUID(),
        abort_signal,
        clickhouse_settings: {
          ...INSERT_SETTINGS,
          // without a token of its own the server would drop an insert whose rows it has seen
          insert_deduplication_token: options.token ?? randomUUID(),
        },
      })
      // the answer's end: nothing is in it
      await finished(stream.resume())
    })
  }

  async function insertFile(
    table: string,
    columns: readonly string[],
    format: 'Parquet' | 'Avro',
    file: Readable,
  ): Promise<void> {
    await call(`insert into ${table}`, async (abort_signal) => {
      const { stream } = await client.exec({
        query: `INSERT INTO ${table} (${columns.map(sqlName).join(', ')}) FORMAT ${format}`,
        values: file,
        query_id: randomUUID(),
        abort_signal,
        clickhouse_settings: {
          input_format_parquet_allow_missing_columns: 0,
          input_format_avro_allow_missing_fields: 0,
          input_format_null_as_default: 0,
        },
      })
      await finished(stream.resume())
    })
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

    insert: (table, columns, rows, options) =>
      insertBody(table, columns, Buffer.from(rows.map(jsonRow).join('\n')), options),
    insertBody,
    insertFile,
    queryFile: (sql, format, file, settings = {}) =>
      call('query', async (abort_signal) => {
        const query = `${sql}\nFORMAT ${format}`
        const { stream } = await client.exec({ query, abort_signal, clickhouse_settings: settings })
        await pipeline(stream, file)
      }),
    close: () => client.close(),
  }
}

/** A row as `insertBody` takes it. JSON has no NaN and no infinity: they travel as text, which ClickHouse reads as numbers. */
export function jsonRow(row: object): string {
  return JSON.stringify(Object.fromEntries(Object.entries(row).map(([column, value]) => [column, jsonValue(value)])))
}

function jsonValue(value: unknown): unknown {
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  return Array.isArray(value) ? value.map(jsonValue) : value
}

/** Of what somebody must mend, what callers tell apart. */
const STOP_CODES: ReadonlyMap<number, string> = new Map([
  [UNKNOWN_DATABASE, 'clickhouse_unknown_database'],
  [UNKNOWN_TABLE, 'clickhouse_unknown_table'],
])

/** The fate of whatever the client throws, by ClickHouse's own error code or the socket's. */
function clickHouseError(error: unknown, what: string): MillraceError {
  if (error instanceof MillraceError) return error
  const message = `${what}: ${(error as Error).message}`
  if (error instanceof ClickHouseError) {
    const code = Number(error.code)
    const coded = `${message} (${error.type ?? 'ClickHouse'} ${code})`
    switch (answerFate(code)) {
      case 'retry':
        return retryable('clickhouse_unavailable', coded, error)
      case 'reject':
        return rejected('clickhouse_refused_rows', coded, error)
      case 'split':
        return rejected('clickhouse_too_large', coded, error)
      case 'stop':
        return fatal(STOP_CODES.get(code) ?? 'clickhouse_refused', coded, error)
      case null:
        return fatal('clickhouse_error', coded, error)
    }
  }
  // the socket's errors have a system code; an answer that is not ClickHouse's (a proxy's page) comes as a bare Error
  const isTransport = error instanceof Error && ('code' in error || error.constructor === Error)
  return isTransport
    ? retryable('clickhouse_unavailable', message, error)
    : fatal('clickhouse_client_failed', message, error)
}
