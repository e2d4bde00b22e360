import type { Clock } from '../infra/runtime/clock.ts'
import { describeError, fateOf } from '../infra/runtime/errors.ts'
import type { Health } from '../infra/runtime/http/ops-server.ts'
import type { Started } from '../infra/runtime/lifecycle/scope.ts'

export interface Dependency {
  readonly name: string
  /** Resolves with what is wrong, or null; rejects with a `retry` error while it does not answer. */
  readonly check: () => Promise<string | null>
}

export interface DependencyObserver {
  /** Called after each check. `problem` is null when all is well. */
  checked(dependency: string, problem: string | null): void
}

export interface DependencyCheck {
  readonly health: Health
  /** Resolves after `stop`; rejects with an error that is no `retry`. */
  readonly ended: Promise<void>
}

/** Asks each dependency again and again; ready once all are well. */
export function startDependencyCheck(options: {
  readonly dependencies: readonly Dependency[]
  readonly intervalMs: number
  readonly clock: Clock
  readonly observer: DependencyObserver
}): Started<DependencyCheck> {
  const { dependencies, intervalMs, clock, observer } = options
  const stopping = new AbortController()
  const problems = new Map(dependencies.map(({ name }) => [name, 'not checked yet' as string | null]))

  async function check(dependency: Dependency): Promise<void> {
    const problem = await problemOf(dependency)
    problems.set(dependency.name, problem)
    observer.checked(dependency.name, problem)
  }

  async function loop(): Promise<void> {
    while (!stopping.signal.aborted) {
      await Promise.all(dependencies.map(check))
      await clock.sleep(intervalMs, stopping.signal)
    }
  }

  const ended = loop()
  return {
    value: {
      ended,
      health: {
        live: () => null,
        ready() {
          for (const [name, problem] of problems) if (problem !== null) return `${name}: ${problem}`
          return null
        },
      },
    },
    async stop() {
      stopping.abort()
      await ended
    },
  }
}

async function problemOf({ check }: Dependency): Promise<string | null> {
  try {
    return await check()
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    return describeError(error).message
  }
}
