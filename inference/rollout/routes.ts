import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { MicroBatcher } from '../batching/micro-batcher.ts'

/** A version that is loaded and warm. */
export interface ServedVersion {
  readonly manifest: ModelManifest
  /** Features per row. */
  readonly width: number
  readonly batcher: MicroBatcher
}

/** A share of entity keys that another version answers, or is shown. */
export interface RouteShare {
  readonly version: ServedVersion
  /** 0 to 10,000. */
  readonly weight: number
  /** Of the hash of keys: the same for one version at every weight, in every process and at every replay. */
  readonly seed: number
}

/** Who answers the vectors of one feature set. Versions that take another feature set are not in it. */
export interface Route {
  readonly primary: ServedVersion
  readonly canary: RouteShare | null
  readonly shadow: RouteShare | null
}

/** A route whose versions stay loaded until it is released. */
export interface HeldRoute extends Route {
  /** Once. */
  release(): void
}

/**
 * What serves now. It changes between two `acquire`s and never under a held route, so that no batch is answered by two
 * versions where one was meant.
 */
export interface Routes {
  /**
   * Null when nothing that is loaded takes the feature set: then its version is looked for and loaded, and a later call finds
   * it. When production takes another feature set than a candidate does, each answers the vectors that it takes.
   */
  acquire(featureSet: string): HeldRoute | null
  /** Null = all is well; else why this process may not be asked yet: the active plan is not loaded. */
  problem(): string | null
}
