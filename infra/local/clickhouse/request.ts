import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Engine } from './engine.ts'
import { EndpointError } from './errors.ts'
import type { InsertSpool, SpooledData } from './insert-spool.ts'
import {
  awaitsData,
  insertHead,
  killByClientId,
  literal,
  outputFormat,
  refuseUnsupported,
  type StatementKind,
  statementKind,
} from './sql-text.ts'

export interface InsertData extends SpooledData {
  /** A name the engine knows, or `none`. */
  compression: string
}

/** One statement to run, with everything the request said about it. */
export interface StatementRequest {
  sql: string
  kind: StatementKind
  /** The rows of an insert. The receiver removes the file. */
  data: InsertData | undefined
  /** Query parameters carry the prefix `param_`. */
  settings: ReadonlyMap<string, string>
  /** 0: anything; 1: reads, with the settings given; 2: reads, and may change settings. */
  readonly: 0 | 1 | 2
  database: string | undefined
  defaultFormat: string
  format: string
  sessionId: string | undefined
  sessionTimeoutMs: number
  sessionMustExist: boolean
  gzip: boolean
  /** The answer starts when the statement has ended, with its real status. */
  waitForEnd: boolean
}

// Parameters of the protocol, not settings of a statement
const PROTOCOL = new Set(
  `query database default_format user password query_id session_id session_timeout session_check quota_key role compress
  decompress buffer_size wait_end_of_query stacktrace client_protocol_version enable_http_compression
  http_zlib_compression_level send_progress_in_http_headers http_headers_progress_interval_ms
  cancel_http_readonly_queries_on_client_close close_session http_response_buffer_size
  http_write_exception_in_output_format add_http_cors_header readonly`.split(/\s+/),
)
const COMPRESSIONS = /^(?:gzip|deflate|br|lz4|zstd|xz|bz2|snappy)$/

// as far as the head of an insert in a body is looked for
const HEAD_BYTES = 2 ** 16

export const queryIdOf = (parameters: URLSearchParams): string => parameters.get('query_id') || randomUUID()

function bodyCompression(request: IncomingMessage, parameters: URLSearchParams): string {
  const encoding = (request.headers['content-encoding'] ?? 'identity').toLowerCase()
  const own = parameters.get('decompress') === '1' || parameters.get('compress') === '1'
  if (own || !(encoding === 'identity' || COMPRESSIONS.test(encoding))) {
    throw new EndpointError(
      48,
      'NOT_IMPLEMENTED',
      `Unsupported compression: ${own ? 'compress=1, decompress=1' : encoding}`,
    )
  }
  return encoding === 'identity' ? 'none' : encoding
}

function settingsOf(parameters: URLSearchParams, queryId: string): Map<string, string> {
  const settings = new Map([
    ['implicit_select', '0'],
    ['log_comment', queryId],
  ])
  for (const [name, value] of parameters) {
    if (!/^[A-Za-z_]\w*$/.test(name)) throw new EndpointError(115, 'UNKNOWN_SETTING', `Unknown setting '${name}'`)
    if (!PROTOCOL.has(name)) settings.set(name, value)
  }
  return settings
}

async function formFields(body: Buffer, contentType: string, parameters: URLSearchParams): Promise<void> {
  const form = await new Response(new Uint8Array(body), { headers: { 'content-type': contentType } }).formData()
  for (const [name, value] of form) {
    if (typeof value !== 'string')
      throw new EndpointError(48, 'NOT_IMPLEMENTED', 'External tables are not supported here')
    parameters.append(name, value)
  }
}

/** The engine knows every compression a client may use. */
async function decodedBody(
  request: IncomingMessage,
  compression: string,
  engine: Engine,
  spool: InsertSpool,
): Promise<Buffer> {
  const received = await spool.receive(request)
  try {
    const from = `file(${literal(received.file)}, 'RawBLOB', 's String', '${compression}')`
    return (await engine.root.query(`SELECT * FROM ${from}`, 'RawBLOB')).bytes
  } finally {
    await received.remove()
  }
}

/** The statement and, of an insert, its data: from the URL, the body, both, or a form. Fields of a form join `parameters`. */
async function statementOf(
  request: IncomingMessage,
  parameters: URLSearchParams,
  engine: Engine,
  spool: InsertSpool,
): Promise<{ sql: string; data: InsertData | undefined }> {
  const compression = bodyCompression(request, parameters)
  const urlSql = parameters.get('query') ?? ''
  if (awaitsData(urlSql)) return { sql: urlSql, data: { ...(await spool.receive(request)), compression } }

  const body = await (compression === 'none' ? spool.read(request) : decodedBody(request, compression, engine, spool))
  const contentType = request.headers['content-type'] ?? ''
  if (/^multipart\/form-data/i.test(contentType)) {
    await formFields(body, contentType, parameters)
    return { sql: parameters.get('query') ?? '', data: undefined }
  }
  if (urlSql) return { sql: `${urlSql}\n${body}`, data: undefined }
  const head = insertHead(body.toString('latin1', 0, HEAD_BYTES))
  if (head === undefined) return { sql: body.toString(), data: undefined }
  const data = await spool.write(body.subarray(head.length))
  return { sql: Buffer.from(head, 'latin1').toString(), data: { ...data, compression: 'none' } }
}

/** @returns undefined for a request that asks for nothing (a GET of `/`), which a server greets with `Ok.` */
export async function readStatement(
  request: IncomingMessage,
  parameters: URLSearchParams,
  queryId: string,
  engine: Engine,
  spool: InsertSpool,
): Promise<StatementRequest | undefined> {
  const { sql: text, data } = await statementOf(request, parameters, engine, spool)
  const sql = killByClientId(text.trim().replace(/;\s*$/, ''))
  try {
    if (!sql) {
      if (request.method === 'GET') return undefined
      throw new EndpointError(62, 'SYNTAX_ERROR', 'Syntax error: Empty query')
    }
    refuseUnsupported(sql)
    const headers = request.headers
    const defaultFormat = parameters.get('default_format') ?? String(headers['x-clickhouse-format'] ?? 'TabSeparated')
    const asked = parameters.get('readonly')
    return {
      sql,
      kind: statementKind(sql),
      data,
      settings: settingsOf(parameters, queryId),
      readonly: asked === '1' ? 1 : asked === '2' || request.method !== 'POST' ? 2 : 0,
      database: parameters.get('database') ?? headers['x-clickhouse-database']?.toString(),
      defaultFormat,
      format: outputFormat(sql) ?? defaultFormat,
      sessionId: parameters.get('session_id') ?? undefined,
      sessionTimeoutMs: 1000 * Number(parameters.get('session_timeout') ?? 60),
      sessionMustExist: parameters.get('session_check') === '1',
      gzip:
        parameters.get('enable_http_compression') === '1' && /\bgzip\b/.test(String(headers['accept-encoding'] ?? '')),
      waitForEnd: parameters.get('wait_end_of_query') === '1',
    }
  } catch (error) {
    await data?.remove()
    throw error
  }
}
