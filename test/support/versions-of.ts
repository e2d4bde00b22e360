import { createVersionCache } from '../../inference/models/create-version-cache.ts'
import type { VersionCache } from '../../inference/models/version-cache.ts'
import type { ServedVersion } from '../../inference/rollout/routes.ts'
import { type Clock, systemClock } from '../../infra/runtime/clock.ts'
import { type Logger, silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'

export interface Versions {
  readonly cache: VersionCache
  /** Ids in the order in which they were opened. */
  readonly opens: readonly string[]
  readonly closed: readonly string[]
  /** Ids that cannot be opened. */
  readonly failing: Set<string>
  /** Makes the next opening of the id wait until the answer is called. */
  blocked(id: string): () => void
  /** Loads, holds and releases it. */
  use(id: string): Promise<void>
}

/** A cache of versions without a model; each takes 10 bytes, or what `bytes` says. */
export function versionsOf(options: {
  readonly maxBytes: number
  readonly bytes?: (id: string) => number
  /** Which of them stay while nobody uses them; all by default. */
  readonly staysIdle?: (id: string) => boolean
  readonly clock?: Clock
  readonly logger?: Logger
  /** Called when a version closes; it waits for the answer. */
  readonly onClose?: (id: string) => Promise<void>
}): Versions {
  const opens: string[] = []
  const closed: string[] = []
  const failing = new Set<string>()
  const gates = new Map<string, Promise<void>>()
  const cache = createVersionCache({
    maxBytes: options.maxBytes,
    clock: options.clock ?? systemClock,
    logger: options.logger ?? silentLogger,
    observer: { resident: () => {}, loaded: () => {}, evicted: () => {} },
    async open(id) {
      await gates.get(id)
      if (failing.has(id)) throw new Error(`${id} is broken`)
      opens.push(id)
      return {
        version: versionCalled(id),
        bytes: () => options.bytes?.(id) ?? 10,
        staysIdle: options.staysIdle?.(id) ?? true,
        async close() {
          closed.push(id)
          await options.onClose?.(id)
        },
      }
    },
  })
  return {
    cache,
    opens,
    closed,
    failing,
    blocked(id) {
      const gate = Promise.withResolvers<void>()
      gates.set(id, gate.promise)
      return gate.resolve
    },
    async use(id) {
      await cache.load(id)
      cache.hold(id)?.release()
    },
  }
}

function versionCalled(version: string): ServedVersion {
  const manifest = { name: 'some', version, sha256: '', featureSet: { digest: '', features: [] } }
  return {
    manifest: manifest as Partial<ModelManifest> as ModelManifest,
    width: 1,
    batcher: { submit: () => Promise.reject(new Error('there is no model')), pending: 0 },
  }
}
