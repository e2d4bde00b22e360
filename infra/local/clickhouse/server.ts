import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { answerStatement } from './answer.ts'
import { createArrivals } from './arrivals.ts'
import { authenticate } from './authentication.ts'
import { createConnections } from './connections.ts'
import { type Engine, openEngine } from './engine.ts'
import { answerOf, EndpointError } from './errors.ts'
import { type InsertSpool, openSpool } from './insert-spool.ts'
import { queryIdOf, readStatement } from './request.ts'
import { killPredicate } from './sql-text.ts'

interface EndpointOptions {
  dataDir: string
  host: string
  port: number
  /** Of the user `default`; empty: none is asked for. */
  password: string
  maxMemoryBytes: number
  markCacheBytes: number
  /** Of one request. An insert below about a million rows and 256 MB is one block, and so atomic. */
  maxBodyBytes: number
  /** Statements at a time; each holds one thread of libuv's pool, which the file system needs as well. */
  parallel: number
}

function answerError(request: IncomingMessage, response: ServerResponse, error: unknown, version: string): void {
  const { code, status, text } = answerOf(error, version)
  if (response.headersSent) {
    response.destroy()
    return
  }
  for (const name of ['Content-Encoding', 'Content-Length', 'X-ClickHouse-Exception-Tag']) response.removeHeader(name)
  response.writeHead(status, {
    'X-ClickHouse-Exception-Code': String(code),
    'Content-Type': 'text/plain; charset=UTF-8',
    ...(request.complete ? {} : { Connection: 'close' }), // an unread body is not another request
  })
  response.end(text)
}

function handler(
  engine: Engine,
  spool: InsertSpool,
  password: string,
  connections: ReturnType<typeof createConnections>,
) {
  const arrivals = createArrivals()
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (url.pathname === '/ping' || url.pathname === '/replicas_status') {
      response.end('Ok.\n')
      return
    }
    if (url.pathname !== '/') {
      response.writeHead(404).end(`There is no handle ${url.pathname}\n`)
      return
    }
    const parameters = url.searchParams
    const queryId = queryIdOf(parameters)
    response
      .setHeader('X-ClickHouse-Query-Id', queryId)
      .setHeader('X-ClickHouse-Server-Display-Name', 'millrace-local')
      .setHeader('X-ClickHouse-Timezone', engine.timezone)
    authenticate(request, parameters, password)
    await arrivals.track(queryId, async (begin) => {
      const statement = await readStatement(request, parameters, queryId, engine, spool)
      if (!statement) {
        response.end('Ok.\n')
        return
      }
      const killed = killPredicate(statement.sql)
      try {
        if (killed !== null) await arrivals.kill(killed, queryId, engine.root)
        await connections.use(statement, async (connection) => {
          begin()
          await answerStatement(statement, connection, response, engine)
        })
      } finally {
        await statement.data?.remove()
      }
    })
  }
}

/**
 * ClickHouse's HTTP interface over the embedded engine, for clients that expect a server.
 * @returns once it listens; `stop` refuses new requests, waits for the running ones and closes the data directory
 */
export async function startEndpoint(
  options: EndpointOptions,
): Promise<{ value: { version: string }; stop(): Promise<void> }> {
  const engine = await openEngine(options)
  const spool = openSpool(options.dataDir, options.maxBodyBytes)
  const connections = createConnections(engine, options.parallel)
  const handle = handler(engine, spool, options.password, connections)
  let stopping = false
  const server: Server = createServer((request, response) => {
    const refused = new EndpointError(236, 'ABORTED', 'The server is shutting down')
    const handled = stopping ? Promise.reject(refused) : handle(request, response)
    handled.catch((error: unknown) => answerError(request, response, error, engine.version))
  })
  server.keepAliveTimeout = 30_000
  server.requestTimeout = 0
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port, options.host, resolve)
  })
  return {
    value: { version: engine.version },
    stop: async () => {
      stopping = true
      server.close()
      server.closeIdleConnections()
      await connections.drain()
      server.closeAllConnections()
      spool.close()
      engine.close()
    },
  }
}
