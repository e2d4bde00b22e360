import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { Gateway } from '../http/request.ts'
import { whenClosed } from '../http/when-closed.ts'

/** Shows how many requests are not answered yet, and not given up by who sent them. */
export function requestsInFlight(metrics: Metrics): (app: Gateway) => void {
  const gauge = metrics.gauge('millrace_gateway_requests_in_flight', 'Requests not answered yet', [])
  let running = 0
  const count = (change: number): void => {
    running += change
    gauge.set(running, {})
  }
  return (app) => {
    app.addHook('onRequest', async (_request, reply) => {
      count(1)
      whenClosed(reply.raw, () => count(-1))
    })
  }
}
