import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { createGzip, type Gzip, gzip } from 'node:zlib'
import type { Engine, EngineConnection, EngineResult } from './engine.ts'
import { answerOf } from './errors.ts'
import type { InsertData, StatementRequest } from './request.ts'
import { hasSubquery, insertFromFile, literal, withoutFormat } from './sql-text.ts'

const gzipAsync = promisify(gzip)
const GZIP = { level: 1 }

// Formats whose chunks may simply follow one another; of any other the engine would repeat the frame with every chunk
const STREAMABLE =
  /^(?:JSONEachRow|JSONLines|NDJSON|JSONCompactEachRow|JSONStringsEachRow|TabSeparated|TSV|TabSeparatedRaw|TSVRaw|CSV|RowBinary|Native|LineAsString|Values)$/i

function contentType(format: string): string {
  if (/^(?:JSON\w*EachRow|NDJSON|JSONLines)/.test(format)) return 'application/x-ndjson; charset=UTF-8'
  if (/^JSON/.test(format)) return 'application/json; charset=UTF-8'
  if (/^(?:TSV|TabSeparated)/.test(format)) return 'text/tab-separated-values; charset=UTF-8'
  return /^CSV/.test(format) ? 'text/csv; charset=UTF-8; header=absent' : 'application/octet-stream'
}

/** Counters as strings, as clients parse them. What the engine does not tell is 0. */
function setSummary(response: ServerResponse, startedAt: bigint, read?: EngineResult, written?: EngineResult): void {
  const summary = {
    read_rows: read?.rowsRead ?? 0,
    read_bytes: read?.bytesRead ?? 0,
    written_rows: written?.rowsRead ?? 0,
    written_bytes: written?.bytesRead ?? 0,
    total_rows_to_read: 0,
    result_rows: (read ?? written)?.rowsRead ?? 0,
    result_bytes: read?.bytes.length ?? 0,
    elapsed_ns: process.hrtime.bigint() - startedAt,
  }
  const strings = Object.entries(summary).map(([name, value]) => [name, String(value)])
  response.setHeader('X-ClickHouse-Summary', JSON.stringify(Object.fromEntries(strings)))
}

async function answerInsert(
  request: StatementRequest,
  data: InsertData,
  connection: EngineConnection,
  response: ServerResponse,
): Promise<void> {
  const startedAt = process.hrtime.bigint()
  const sql = insertFromFile(request.sql, data.file, data.compression)
  setSummary(response, startedAt, undefined, data.bytes ? await connection.query(sql, 'Null') : undefined)
  response.end()
}

async function answerWhole(
  request: StatementRequest,
  connection: EngineConnection,
  response: ServerResponse,
): Promise<void> {
  const startedAt = process.hrtime.bigint()
  const result = await connection.query(request.sql, request.defaultFormat)
  setSummary(response, startedAt, result)
  const body = request.gzip ? await gzipAsync(result.bytes, GZIP) : result.bytes
  response.setHeader('Content-Length', body.length).end(body)
}

/** The engine sends nothing for an empty result, and clients want its columns: one block of no rows. */
async function emptyNativeBlock(request: StatementRequest, connection: EngineConnection): Promise<Buffer> {
  const described = await connection.query(`DESCRIBE (${withoutFormat(request.sql)}\n)`, 'JSONCompactEachRow')
  const columns: string[][] = described.bytes
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)])
  const text = (value: string): Buffer[] => [Buffer.from(varint(Buffer.byteLength(value))), Buffer.from(value)]
  const named = columns.flatMap(([name = '', type = '']) => [...text(name), ...text(type)])
  return Buffer.concat([Buffer.from([...varint(columns.length), 0]), ...named])
}

/** How a server tells of an error after the status line has gone: behind the data, found by the tag in the headers. */
const exceptionFrame = (tag: string, text: string): string =>
  `\r\n__exception__\r\n${tag}\r\n${text}${Buffer.byteLength(text)} ${tag}\r\n__exception__\r\n`

async function answerStream(
  request: StatementRequest,
  connection: EngineConnection,
  response: ServerResponse,
  version: string,
): Promise<void> {
  setSummary(response, process.hrtime.bigint())
  const chunks = connection.stream(request.sql, request.defaultFormat)
  const closed = new AbortController()
  response.once('close', () => closed.abort())
  try {
    const first = await chunks.next() // an error before the first chunk still gets its status
    const tag = randomBytes(8).toString('hex')
    response.setHeader('X-ClickHouse-Exception-Tag', tag)
    const sink: Gzip | ServerResponse = request.gzip ? createGzip(GZIP) : response
    if (sink !== response) sink.pipe(response)
    try {
      if (first.done) {
        await chunks.return()
        if (/^Native$/i.test(request.format)) sink.write(await emptyNativeBlock(request, connection))
      }
      for (let next = first; !next.done && !closed.signal.aborted; next = await chunks.next()) {
        if (!sink.write(next.value)) await once(sink, 'drain', { signal: closed.signal })
      }
    } catch (error) {
      if (!closed.signal.aborted) sink.write(exceptionFrame(tag, answerOf(error, version).text))
    }
    sink.end()
  } finally {
    await chunks.return()
  }
}

/** Runs the statement and answers. What it throws has not been answered yet. A read that nobody waits for any more is killed. */
export async function answerStatement(
  request: StatementRequest,
  connection: EngineConnection,
  response: ServerResponse,
  engine: Engine,
): Promise<void> {
  if (request.data) return answerInsert(request, request.data, connection, response)
  response.setHeader('X-ClickHouse-Format', request.format).setHeader('Content-Type', contentType(request.format))
  if (request.gzip) response.setHeader('Content-Encoding', 'gzip').setHeader('Vary', 'Accept-Encoding')
  if (request.kind !== 'select') return answerWhole(request, connection, response)

  if (response.destroyed) return // gave up while waiting for its turn
  let running = true
  const kill = async (): Promise<void> => {
    const id = literal(request.settings.get('log_comment') ?? '')
    if (running) await engine.root.query(`KILL QUERY WHERE Settings['log_comment'] = ${id} ASYNC`, 'Null')
  }
  const onClose = (): void => {
    kill().catch((error: unknown) => process.stderr.write(`cannot kill an abandoned query: ${error}\n`))
  }
  response.once('close', onClose)
  // a scalar subquery is computed while the query is planned, which for a stream would stop this process's only thread
  const streams = STREAMABLE.test(request.format) && !request.waitForEnd && !hasSubquery(request.sql)
  try {
    await (streams
      ? answerStream(request, connection, response, engine.version)
      : answerWhole(request, connection, response))
  } finally {
    running = false
    response.off('close', onClose)
  }
}
