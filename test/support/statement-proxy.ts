import { once } from 'node:events'
import { type ClientRequest, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 *   before  the statement is never passed on
 *   during  it is passed on, and its answer not waited for
 *   after   it has been answered, and nobody hears of it
 */
export type Moment = 'before' | 'during' | 'after'

/** The way to ClickHouse, on which something can happen to whoever sends a statement, at that very moment. */
export interface StatementProxy {
  readonly url: string
  /** Does it once, when a statement that begins like this comes by; resolves when it is done. */
  strike(statement: string, moment: Moment, what: () => void): Promise<void>
  close(): Promise<void>
}

export async function openStatementProxy(target: string): Promise<StatementProxy> {
  let armed: { readonly statement: string; readonly moment: Moment; readonly strike: () => void } | null = null

  async function pass(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    // a statement is the body, or the rows are and the statement is in the address
    const sent = new URL(incoming.url ?? '/', target).searchParams.get('query') ?? body.toString('latin1')
    const order = armed !== null && sent.trimStart().startsWith(armed.statement) ? armed : null
    if (order !== null) armed = null
    if (order?.moment === 'before') {
      order.strike()
      answer.destroy()
      return
    }
    const outgoing = passedOn(target, incoming, body)
    if (order?.moment === 'during') {
      outgoing.once('finish', order.strike)
      outgoing.once('response', (response) => response.resume())
      outgoing.once('error', () => {})
      return
    }
    outgoing.once('error', () => answer.destroy())
    outgoing.once('response', (response: IncomingMessage) => {
      if (order === null) {
        answer.writeHead(response.statusCode ?? 502, response.headers)
        response.pipe(answer)
        return
      }
      response.resume().once('end', order.strike)
    })
  }

  const server = createServer((incoming, answer) => {
    pass(incoming, answer).catch(() => answer.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    strike(statement, moment, what) {
      const { promise, resolve } = Promise.withResolvers<void>()
      armed = {
        statement,
        moment,
        strike() {
          what()
          resolve()
        },
      }
      return promise
    },
    async close() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

function passedOn(target: string, { url = '/', method, headers }: IncomingMessage, body: Buffer): ClientRequest {
  const { 'transfer-encoding': _, ...rest } = headers
  const outgoing = request(new URL(url, target), {
    method: method ?? 'GET',
    headers: { ...rest, 'content-length': body.length },
  })
  outgoing.end(body)
  return outgoing
}
