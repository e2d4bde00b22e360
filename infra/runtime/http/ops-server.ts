import { createServer, type ServerResponse } from 'node:http'
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

/** `/live`, `/ready` (200 or 503 with a reason) and `/metrics` for Prometheus. */
export async function startOpsServer(options: {
  readonly host: string
  readonly port: number
  readonly health: Health
  readonly metrics: Metrics
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
      default:
        return answer(response, 404, 'text/plain', 'not found\n')
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
