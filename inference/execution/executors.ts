import { systemClock } from '../../infra/runtime/clock.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { Executor, RestartCause } from './executor.ts'
import { createInlineExecutor } from './inline-executor.ts'
import { createProcessExecutor } from './process-executor.ts'
import { createProviderLoad, type ProviderLoad } from './providers/provider-load.ts'
import { createQuarantine, type Quarantine } from './quarantine.ts'
import type { Provider } from './run-rows.ts'

/**
 * The executors of this process: one in it for each provider, started when it is first asked for, and a child for each version that runs in one,
 * so that a version that is loaded, hangs or crashes takes nothing from those beside it.
 */
export interface Executors {
  /** The one in this process for that provider. */
  inline(provider: Provider): Executor
  /** For one model: it is ended with it, or when it is refused. */
  child(purpose: ExecutorPurpose, provider: Provider, version: string): Executor
  /** Of its own for each purpose: what replays rows of a shadow never keeps those of answers waiting. */
  quarantine(purpose: ExecutorPurpose, provider: Provider): Quarantine
  /** Shared by all that run on the GPU. */
  readonly gpu: ProviderLoad
  /** What runs of a model take, by which a run that hangs is known. */
  learn(manifest: ModelManifest, profile: ModelProfile): void
  /** Frees what quarantines keep of a version that is closed. */
  forget(manifest: ModelManifest): void
  close(): Promise<void>
}

export type ExecutorPurpose = 'answers' | 'shadow'

export interface ExecutorsOptions {
  readonly logger: Logger
  /** Resident memory above which a child is killed, of each. */
  readonly memoryLimitBytes: number
  readonly observer?: ExecutorsObserver
}

/** Must not throw. */
export interface ExecutorsObserver {
  /** A child has to be started anew. */
  restarted(host: ChildHost, cause: RestartCause): void
}

export interface ChildHost {
  readonly purpose: ExecutorPurpose
  readonly provider: Provider
  /** Null = the quarantine, where versions are together. */
  readonly version: string | null
}

export function createExecutors(options: ExecutorsOptions): Executors {
  const { logger, memoryLimitBytes, observer } = options
  const profiles = new Map<string, ModelProfile>()
  const children = new Set<Executor>()
  const inline = new Map<Provider, Executor>()
  const quarantines = new Map<string, Quarantine>()

  /** 0 = not known. */
  const expectedOn =
    (provider: Provider) =>
    ({ folder }: ModelManifest, rows: number): number => {
      const profile = profiles.get(`${provider} ${folder}`)
      return profile === undefined ? 0 : (profile.fixedUs + profile.rowUs * rows) / 1_000
    }

  function childOf(host: ChildHost, minTimeoutMs?: number): Executor {
    const { purpose, provider, version } = host
    return createProcessExecutor({
      provider,
      logger: logger.child(
        version === null ? { executor: 'quarantine', purpose, provider } : { executor: purpose, provider, version },
      ),
      expectedMs: expectedOn(provider),
      memoryLimitBytes,
      restarted: (cause) => observer?.restarted(host, cause),
      ...(minTimeoutMs === undefined ? {} : { minTimeoutMs }),
    })
  }

  function ofOneModel(executor: Executor): Executor {
    children.add(executor)
    const close = async (): Promise<void> => {
      await executor.close()
      children.delete(executor)
    }
    return {
      ...executor,
      async prepare(manifest) {
        try {
          return { ...(await executor.prepare(manifest)), retire: close }
        } catch (error) {
          await close()
          throw error
        }
      },
      close,
    }
  }

  return {
    inline(provider) {
      const known = inline.get(provider)
      if (known !== undefined) return known
      const executor = createInlineExecutor({ provider })
      inline.set(provider, executor)
      return executor
    },
    child: (purpose, provider, version) => ofOneModel(childOf({ purpose, provider, version })),
    quarantine(purpose, provider) {
      const key = `${purpose} ${provider}`
      const known = quarantines.get(key)
      if (known !== undefined) return known
      const quarantine = createQuarantine({
        open: (minTimeoutMs) => childOf({ purpose, provider, version: null }, minTimeoutMs),
      })
      quarantines.set(key, quarantine)
      return quarantine
    },
    gpu: createProviderLoad(systemClock),
    forget(manifest) {
      for (const quarantine of quarantines.values()) quarantine.forget(manifest)
    },
    learn: ({ folder }, profile) => void profiles.set(`${profile.provider} ${folder}`, profile),
    async close() {
      await Promise.all([...children, ...quarantines.values(), ...inline.values()].map((each) => each.close()))
    },
  }
}
