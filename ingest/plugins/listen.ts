import type { AddressInfo } from 'node:net'
import { fatal } from '../../infra/runtime/errors.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import type { Gateway } from '../http/request.ts'

export interface Address {
  readonly host: string
  readonly port: number
  /** E.g. `http://127.0.0.1:8080`. */
  readonly url: string
}

/** Connections that wait to be accepted: one that finds no room waits for seconds before it tries again. As many as the system allows. */
const BACKLOG = 65_535

/** `stop` takes no new connection and resolves when every request that runs has been answered. */
export async function startListening(
  app: Gateway,
  options: { readonly host: string; readonly port: number; readonly portVariable: string },
): Promise<Started<Address>> {
  const { host, port, portVariable } = options
  try {
    await app.listen({ host, port, backlog: BACKLOG })
  } catch (error) {
    await app.close()
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error
    throw fatal('gateway_port', `${portVariable} ${port} cannot be used: ${(error as Error).message}`, error)
  }
  const bound = (app.server.address() as AddressInfo).port
  const name = host.includes(':') ? `[${host}]` : host
  return { value: { host, port: bound, url: `http://${name}:${bound}` }, stop: () => app.close() }
}
