import { type Backoff, backoffMs } from '../../infra/runtime/backoff.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, fateOf } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { VersionCache } from '../models/version-cache.ts'

/** Which versions are loaded, on their way, or failed to load. */
export interface VersionLoads {
  isLoaded(id: string): boolean
  /** What the last load rejected with; null when it did not. */
  failure(id: string): Error | null
  /**
   * Loads it, unless it is loaded or on its way, or failed: then it is tried again after a while, a longer one when it did not fail
   * with `retry`. Settles when it is over and never rejects.
   */
  want(id: string): Promise<void>
  /** What failed may be tried again at once. */
  forgive(): void
}

export interface VersionLoadsDeps {
  readonly cache: VersionCache
  readonly clock: Clock
  readonly logger: Logger
  /** Something was loaded, or failed to. */
  onChange(): void
}

interface Failure {
  readonly error: Error
  readonly attempts: number
  /** Monotonic ms. */
  readonly notBefore: number
}

const BACKOFF: Backoff = { baseMs: 500, maxMs: 30_000 }
/** What is to be mended may be: a folder that is there again, a machine with more memory. */
const SLOW_BACKOFF: Backoff = { baseMs: 30_000, maxMs: 300_000 }

export function createVersionLoads({ cache, clock, logger, onChange }: VersionLoadsDeps): VersionLoads {
  const loaded = new Set<string>()
  const loading = new Map<string, Promise<void>>()
  const failures = new Map<string, Failure>()

  async function load(id: string): Promise<void> {
    try {
      await cache.load(id)
      loaded.add(id)
      failures.delete(id)
    } catch (error) {
      const attempts = (failures.get(id)?.attempts ?? 0) + 1
      const waitMs = backoffMs(fateOf(error) === 'retry' ? BACKOFF : SLOW_BACKOFF, attempts - 1)
      failures.set(id, { error: error as Error, attempts, notBefore: clock.monotonic() + waitMs })
      logger.error({ ...describeError(error), id, attempts }, 'model version not loaded: what was serving serves on')
    }
    loading.delete(id)
    onChange()
  }

  function isLoaded(id: string): boolean {
    if (!loaded.has(id)) return false
    // it may have had to make room since
    const isThere = cache.has(id)
    if (!isThere) loaded.delete(id)
    return isThere
  }

  return {
    isLoaded,
    failure: (id) => failures.get(id)?.error ?? null,
    async want(id) {
      if (isLoaded(id)) return
      const failed = failures.get(id)
      if (failed !== undefined && clock.monotonic() < failed.notBefore) return
      const under = loading.get(id) ?? load(id)
      if (!loading.has(id)) loading.set(id, under)
      await under
    },
    forgive() {
      for (const [id, failure] of failures) failures.set(id, { ...failure, notBefore: 0 })
    },
  }
}
