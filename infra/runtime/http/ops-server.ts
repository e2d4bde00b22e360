import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fatal } from '../errors.ts'
import type { Started } from '../lifecycle/scope.ts'
import type { Metrics } from '../telemetry/metrics.ts'

export interface Health {
  /** False = restart the process. Null when all is well, else the reason. */
  live(): string | null
  /** Null when the process does its work, else what it waits for. */
  ready(): string | null
}

/** False when this process does not read the topic. */
interface PartitionSwitch {
  pause(topic: string, partition: number): boolean
  resume(topic: string, partition: number): boolean
}

const PARTITION_PATH = /^\/partitions\/([\w.-]+)\/(\d{1,9})\/(pause|resume)$/

/**
 * `/live`, `/ready` (200 or 503 with a reason) and `/metrics` for Prometheus; `POST /partitions/<topic>/<n>/pause` and `…/resume` for
 * operators, which pages in a browser may not use.
 */
export async function startOpsServer(options: {
  readonly host: string
  readonly port: number
  readonly health: Health
  readonly metrics: Metrics
  readonly partitions: PartitionSwitch
}): Promise<Started<{ readonly port: number }>> {
  const { health, metrics } = options
  const server = createServer((request, response) => {
    switch (new URL(request.url ?? '/', 'http://ops').pathname) {
      case '/live':
        return answerState(response, health.live())
      case '/ready':
        return answerState(response, health.ready())
      case '/metrics':
        metrics.expose().then(
          ({ contentType, text }) => answer(response, 200, contentType, text),
          (error: Error) => answer(response, 500, 'text/plain', error.message),
        )
        return
      default: {
        const [status, text] = turn(request, options.partitions)
        return answer(response, status, 'text/plain', `${text}\n`)
      }
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(fatal('ops_port', `MILLRACE_OPS_PORT ${options.port} cannot be used: ${error.message}`, error)),
    )
    server.listen(options.port, options.host, resolve)
  })
  return {
    value: { port: (server.address() as AddressInfo).port },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Status and text. */
function turn(request: IncomingMessage, partitions: PartitionSwitch): readonly [status: number, text: string] {
  const path = PARTITION_PATH.exec(new URL(request.url ?? '/', 'http://ops').pathname)
  if (path === null) return [404, 'not found']
  if (request.method !== 'POST') return [405, 'POST only']
  if (request.headers.origin !== undefined) return [403, 'not from a browser']
  const [, topic = '', partition = '', action] = path
  const isKnown = partitions[action === 'pause' ? 'pause' : 'resume'](topic, Number(partition))
  return isKnown ? [200, `${topic}/${partition} is ${action}d`] : [404, `this process does not read ${topic}`]
}

function answerState(response: ServerResponse, problem: string | null): void {
  answer(
    response,
    problem === null ? 200 : 503,
    'application/json',
    `${JSON.stringify({ ok: problem === null, problem })}\n`,
  )
}

function answer(response: ServerResponse, status: number, contentType: string, body: string): void {
  response.writeHead(status, { 'content-type': contentType }).end(body)
}
