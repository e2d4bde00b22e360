import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { ServedRequest } from './usage.ts'

/** Tenants that have series of their own; those that come later share `other`. */
const MAX_TENANTS = 100
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30] as const

export interface UsageMetrics {
  served(request: ServedRequest): void
  /** A request that is missing in the facts. */
  dropped(): void
}

/** What gateways count of their requests, for Prometheus. `tenant` is `none` when nobody was let in. */
export function createUsageMetrics(metrics: Metrics, maxTenants = MAX_TENANTS): UsageMetrics {
  const requests = metrics.counter('millrace_gateway_requests_total', 'Requests answered', [
    'route',
    'method',
    'status',
    'tenant',
  ])
  const seconds = metrics.histogram(
    'millrace_gateway_request_seconds',
    'Time from request to answer',
    ['route', 'method'],
    SECONDS,
  )
  const route = ['route'] as const
  const received = metrics.counter('millrace_gateway_received_bytes_total', 'Bodies of requests, as received', route)
  const sent = metrics.counter('millrace_gateway_sent_bytes_total', 'Bodies of answers', route)
  const events = metrics.counter('millrace_gateway_accepted_events_total', 'Events and labels accepted', [
    'route',
    'tenant',
  ])
  const dropped = metrics.counter('millrace_gateway_uncounted_requests_total', 'Requests missing in the usage', [])
  const tenants = new Set<string>()

  function tenantLabel(tenant: string | null): string {
    if (tenant === null) return 'none'
    if (tenants.has(tenant)) return tenant
    if (tenants.size >= maxTenants) return 'other'
    tenants.add(tenant)
    return tenant
  }

  return {
    served(request) {
      const tenant = tenantLabel(request.tenant)
      const { method, route: path } = request
      requests.add(1, { route: path, method, status: `${Math.floor(request.status / 100)}xx`, tenant })
      seconds.observe(request.tookMs / 1_000, { route: path, method })
      received.add(request.requestBytes, { route: path })
      sent.add(request.responseBytes, { route: path })
      if (request.events > 0) events.add(request.events, { route: path, tenant })
    },
    dropped: () => dropped.add(1, {}),
  }
}
