import type { Clock } from '../../infra/runtime/clock.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { MicroBatch } from '../batching/micro-batcher.ts'
import type { Executor } from '../execution/executor.ts'
import type { ExecutorPurpose, Executors } from '../execution/executors.ts'
import type { Provider } from '../execution/run-rows.ts'

export interface ServeVersionDeps {
  readonly choice: CompiledModelChoice
  /** Those that it may run on, the preferred one first. */
  readonly providers: readonly Provider[]
  readonly executors: Executors
  readonly settings: ServeSettings
  readonly clock: Clock
  readonly logger: Logger
  readonly observer: ServeObserver
}

export interface ServeSettings {
  /** Ceilings of a micro-batch. */
  readonly maxRows: number
  readonly maxBytes: number
  /** Longest time that a micro-batch waits for more rows, ms; 0 = never. */
  readonly maxLingerMs: number
  readonly executor: 'auto' | Executor['kind']
  /** Of the answers of a version that are kept for rows that come again, where that can pay; 0 = none. */
  readonly predictionCacheBytes: number
}

/** Must not throw. */
export interface ServeObserver {
  released(manifest: ModelManifest, batch: MicroBatch, purpose: ExecutorPurpose): void
  /** Of the rows of a run, `hits` were answered before, `repeats` are the same as another one. */
  looked(manifest: ModelManifest, rows: number, hits: number, repeats: number, purpose: ExecutorPurpose): void
}

/** What is known of a version before it is loaded. */
export interface VersionFacts {
  readonly manifest: ModelManifest
  /** What its probation measured; empty when it has had none. */
  readonly profiles: readonly ModelProfile[]
  readonly purpose: ExecutorPurpose
}
