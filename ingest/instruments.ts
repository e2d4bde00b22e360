import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { DependencyObserver } from './dependencies.ts'
import type { LimitsObserver } from './limits/create-limits.ts'

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
