/** What the control log says of models and of which of them serve. */

/** A version that passed its probation: kind `model`, name `<model>/<version>`. */
export interface ModelEntry {
  readonly model: string
  readonly version: string
  /** SHA-256 of manifest.json, hex: its name in the model store. */
  readonly manifest: string
  /** SHA-256 of the model file, hex. */
  readonly digest: string
  /** Digest of the feature set that it takes. */
  readonly featureSet: string
  /** What probation measured, by provider. */
  readonly profiles: readonly ModelProfile[]
  /** A retired version is not served to anybody. */
  readonly state: 'active' | 'retired'
}

/** Cost of a run of n rows, L(n) = a + b·n, on one thread. */
export interface ModelProfile {
  readonly provider: 'cpu' | 'cuda'
  /** Fixed cost of a run, µs. */
  readonly fixedUs: number
  /** Cost of a row, µs. */
  readonly rowUs: number
  /** p99 / p50 of the time of a run. */
  readonly tail: number
}

/** Which model a pipeline uses: kind `pipeline`, name `<pipeline>`; its processes say it before they serve. */
export interface PipelineEntry {
  readonly model: string
}

/** Which versions of a model serve, to every pipeline that uses it: kind `rollout`, name `<model>`. */
export interface RolloutEntry {
  /** What happened. */
  readonly step: RolloutStep
  /** Highest epoch that any plan of the model had. */
  readonly lastEpoch: number
  /** Null before the first activation. */
  readonly active: RolloutPlan | null
  /** What a rollback returns to. */
  readonly previous: RolloutPlan | null
  /** Waits until every member of every such pipeline has loaded and warmed its versions; past the deadline (epoch ms) it is `stalled`. */
  readonly proposed: { readonly plan: RolloutPlan; readonly deadline: number } | null
  /** What a guard saw, or who was not ready; null = the step needs none. */
  readonly evidence: Readonly<Record<string, unknown>> | null
}

export type RolloutStep = 'proposed' | 'activated' | 'stalled' | 'rolled_back' | 'paused' | 'resumed' | 'weighted'

export interface RolloutPlan {
  /** Grows with every plan of the model that names other versions than the one before it. */
  readonly epoch: number
  /** Version of the alias `production`. */
  readonly production: string
  /**
   * Version of the alias `candidate`, and the share of entity keys that it answers, 0 to 10,000; while it is paused it answers
   * none and the share is kept.
   */
  readonly candidate: { readonly version: string; readonly weight: number; readonly paused: boolean } | null
  /** Scored beside, never answered with; share of entity keys, 0 to 10,000. */
  readonly shadow: { readonly version: string; readonly share: number } | null
  /** Null = nothing rolls it back by itself. */
  readonly guards: GuardLimits | null
  /**
   * Where each of its versions is, by version: what has the same name elsewhere is another version. Of one that is not in it, as in
   * entries written before there was this, the registered one is meant, and where there is none the one in the pipeline's folder.
   */
  readonly sources?: Readonly<Record<string, VersionOrigin>>
}

/** In the pipeline's own folder, or in the model store: a registered name has the same content for good. */
export type VersionOrigin = 'bundled' | 'registered'

/**
 * When a candidate is taken out, or a production that was just activated is rolled back, by itself. Each process judges
 * what it has scored; one that sees a limit exceeded is enough. A limit of null is not looked at.
 */
export interface GuardLimits {
  /** Time over which versions are compared, ms; longer when a version has not had `minRows` by then. */
  readonly windowMs: number
  /** Rows that a version, and the one that it is compared with, must have had. */
  readonly minRows: number
  /** Rows that the model failed on, as a share of all: above that of the other version by more than this. */
  readonly errorRate: number | null
  /** Rows with an output that is NaN, infinite or out of range: above the other version's share by more than this. */
  readonly invalidRate: number | null
  /**
   * p99 of the time that a row takes: more than so many times the other version's, and above `slowFloorUs`. Rows are compared with
   * those of runs that were no larger; with larger runs whole runs are, so that a version that gets few rows is not slow for that.
   */
  readonly slowdown: number | null
  /** No row time below this, µs, is slow. */
  readonly slowFloorUs: number
  /**
   * Population stability index of the scores against those of production. For a shadow only that is shown everything, while there is
   * no canary: a share of entities has scores of its own, whatever the version.
   */
  readonly psi: number | null
}

export const DEFAULT_GUARDS: GuardLimits = {
  windowMs: 60_000,
  minRows: 500,
  errorRate: 0.02,
  invalidRate: 0.02,
  slowdown: 5,
  slowFloorUs: 1_000,
  psi: 0.25,
}
