import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { Executor } from './executor.ts'
import { createInlineExecutor } from './inline-executor.ts'
import { createProcessExecutor } from './process-executor.ts'
import { createQuarantine, type Quarantine } from './quarantine.ts'
import type { Provider } from './run-rows.ts'

/**
 * The executors of this process, started when they are first asked for: versions that answer share one child, those that are
 * only shown vectors have another, so that they take nothing from the first.
 */
export interface Executors {
  /** The one in this process, for the CPU. */
  inline(): Executor
  child(purpose: ExecutorPurpose, provider: Provider): Executor
  quarantine(provider: Provider): Quarantine
  /** What runs of a model take, by which a run that hangs is known. */
  learn(manifest: ModelManifest, profile: ModelProfile): void
  /** Frees what quarantines keep of a version that is closed. */
  forget(manifest: ModelManifest): void
  close(): Promise<void>
}

export type ExecutorPurpose = 'answers' | 'shadow'

export interface ExecutorsOptions {
  readonly logger: Logger
  /** Resident memory above which a child is killed. */
  readonly memoryLimitBytes: number
}

/** A row alone that takes longer than this in quarantine is the one that hung. */
const QUARANTINE_TIMEOUT_MS = 1_000

export function createExecutors(options: ExecutorsOptions): Executors {
  const { logger, memoryLimitBytes } = options
  const profiles = new Map<string, ModelProfile>()
  const executors = new Map<string, Executor>()
  const quarantines = new Map<Provider, Quarantine>()

  /** 0 = not known. */
  const expectedOn =
    (provider: Provider) =>
    ({ folder }: ModelManifest, rows: number): number => {
      const profile = profiles.get(`${provider} ${folder}`)
      return profile === undefined ? 0 : (profile.fixedUs + profile.rowUs * rows) / 1_000
    }

  function once(name: string, create: () => Executor): Executor {
    const known = executors.get(name)
    if (known !== undefined) return known
    const executor = create()
    executors.set(name, executor)
    return executor
  }

  return {
    inline: () => once('inline', () => createInlineExecutor({ provider: 'cpu' })),
    child: (purpose, provider) =>
      once(`${purpose} ${provider}`, () =>
        createProcessExecutor({
          provider,
          logger: logger.child({ executor: purpose, provider }),
          expectedMs: expectedOn(provider),
          memoryLimitBytes,
        }),
      ),
    quarantine(provider) {
      const known = quarantines.get(provider)
      if (known !== undefined) return known
      const quarantine = createQuarantine({
        open: () =>
          createProcessExecutor({
            provider,
            logger: logger.child({ executor: 'quarantine', provider }),
            expectedMs: expectedOn(provider),
            memoryLimitBytes,
            minTimeoutMs: QUARANTINE_TIMEOUT_MS,
          }),
      })
      quarantines.set(provider, quarantine)
      return quarantine
    },
    forget(manifest) {
      for (const quarantine of quarantines.values()) quarantine.forget(manifest)
    },
    learn: ({ folder }, profile) => void profiles.set(`${profile.provider} ${folder}`, profile),
    async close() {
      await Promise.all([...executors.values(), ...quarantines.values()].map((each) => each.close()))
    },
  }
}
