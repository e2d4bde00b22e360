import type { Logger } from '../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../infra/runtime/telemetry/metrics.ts'
import type { DependencyObserver } from './dependencies.ts'

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
