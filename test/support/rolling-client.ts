import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

export interface RollingClient {
  /** Sends until `signal` aborts; resolves with what was answered, and what was not. */
  send(
    path: string,
    headers: Readonly<Record<string, string>>,
    bodyOf: (id: string) => string,
    signal: AbortSignal,
  ): Promise<Sent>
}

export interface Sent {
  /** By the id of the event. */
  readonly answers: ReadonlyMap<string, number>
  /** A request that was sent and had no answer: nothing is ever sent twice. */
  readonly failures: readonly string[]
}

/** Between two requests: the processes that start beside it need the machine, too. */
const PAUSE_MS = 5

/**
 * A client with one connection, kept alive, to one of several gateways. It goes to the next one when an answer says
 * `connection: close` or a connection is refused, and on nothing else.
 */
export function createRollingClient(name: string, ports: readonly number[], first: number): RollingClient {
  let at = first
  return {
    async send(path, headers, bodyOf, signal) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      const answers = new Map<string, number>()
      const failures: string[] = []
      for (let index = 0; !signal.aborted; index++) {
        await delay(PAUSE_MS)
        const id = `${name}-${index}`
        const body = bodyOf(id)
        for (let tries = 1; ; tries++) {
          try {
            const port = ports[at % ports.length] as number
            const response = await post({ agent, port, path, headers, body })
            answers.set(id, response.statusCode ?? 0)
            if (response.headers.connection === 'close') at += 1
            break
          } catch (error) {
            const { code } = error as NodeJS.ErrnoException
            at += 1
            if (code === 'ECONNREFUSED' && tries < ports.length * 10) continue
            failures.push(`${id}: ${code ?? String(error)}`)
            break
          }
        }
      }
      agent.destroy()
      return { answers, failures }
    },
  }
}

async function post(options: {
  readonly agent: Agent
  readonly port: number
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}): Promise<IncomingMessage> {
  const { body, headers, ...rest } = options
  const length = { 'content-length': String(Buffer.byteLength(body)) }
  const sending = request({ ...rest, host: '127.0.0.1', method: 'POST', headers: { ...headers, ...length } })
  sending.end(body)
  const [response] = (await once(sending, 'response')) as [IncomingMessage]
  response.resume()
  await once(response, 'end')
  return response
}
