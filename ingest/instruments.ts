import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { DependencyObserver } from './dependencies.ts'
import type { LimitsObserver } from './limits/create-limits.ts'
import type { OverloadObserver } from './plugins/overload.ts'
import type { FeedObserver } from './stream/delivery.ts'

/** What ingest counts and logs: a line when a dependency goes and when it comes back. */
export function createInstruments(metrics: Metrics, logger: Logger): DependencyObserver {
  const up = metrics.gauge('millrace_ingest_dependency_up', '1 while the dependency answers', ['dependency'])
  const last = new Map<string, string | null>()
  return {
    checked(dependency, problem) {
      up.set(problem === null ? 1 : 0, { dependency })
      const before = last.get(dependency) ?? null
      last.set(dependency, problem)
      if (problem !== null && before === null) logger.warn({ dependency, problem }, 'a dependency is away')
      if (problem === null && before !== null) logger.info({ dependency }, 'a dependency is back')
    },
  }
}

/** What limits say: a line when this process begins to count alone, and when it ends. */
export function limitsInstruments(metrics: Metrics, logger: Logger): LimitsObserver {
  const alone = metrics.gauge('millrace_gateway_limits_alone', '1 while Redis is away and limits are counted here', [])
  return {
    countsAlone(reason) {
      alone.set(1, {})
      logger.warn(reason, 'limits are counted without Redis')
    },
    countsTogether(outage) {
      alone.set(0, {})
      logger.info(outage, 'limits are counted in Redis again')
    },
  }
}

/** How much of the predictions goes to whoever follows them. */
export function feedInstruments(metrics: Metrics): FeedObserver {
  const records = metrics.counter('millrace_gateway_feed_records_total', 'Predictions read for subscribers', [
    'reading',
  ])
  const delivered = metrics.counter('millrace_gateway_feed_delivered_total', 'Predictions given to subscribers', [
    'reading',
  ])
  const unreadable = metrics.counter('millrace_gateway_feed_unreadable_total', 'Predictions that cannot be read', [
    'reading',
  ])
  const queued = metrics.gauge('millrace_gateway_feed_queued_bytes', 'Predictions that wait for subscribers', [])
  const subscribers = metrics.gauge('millrace_gateway_feed_subscribers', 'Who follows predictions', [])
  return {
    fed(set) {
      const { reading } = set
      records.add(set.records, { reading })
      delivered.add(set.delivered, { reading })
      unreadable.add(set.unreadable, { reading })
    },
    queued: (bytes) => queued.set(bytes, {}),
    subscribers: (count) => subscribers.set(count, {}),
  }
}

/** Requests that were turned away for lack of room; one line each would be a part of the overload. */
export function overloadInstruments(metrics: Metrics): OverloadObserver {
  const shed = metrics.counter('millrace_gateway_shed_total', 'Requests turned away for lack of room', ['because'])
  return { shed: (because) => shed.add(1, { because }) }
}
