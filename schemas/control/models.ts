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

/** Which versions of a model serve: kind `rollout`, name `<model>`. */
export interface RolloutEntry {
  /** What happened. */
  readonly step: 'proposed' | 'activated' | 'stalled' | 'rolled_back' | 'paused' | 'resumed'
  /** Null before the first activation. */
  readonly active: RolloutPlan | null
  /** What a rollback returns to. */
  readonly previous: RolloutPlan | null
  /** Waits until every member has loaded and warmed its versions; past the deadline (epoch ms) it is `stalled`. */
  readonly proposed: { readonly plan: RolloutPlan; readonly deadline: number } | null
  /** What a guard saw, or who was not ready; null = the step needs none. */
  readonly evidence: Readonly<Record<string, unknown>> | null
}

export interface RolloutPlan {
  /** Grows with every plan of the model. */
  readonly epoch: number
  /** Version of the alias `production`. */
  readonly production: string
  /** Version of the alias `candidate`, and the share of entity keys that it answers, 0 to 10,000. */
  readonly candidate: { readonly version: string; readonly weight: number } | null
  /** Scored beside, never answered with; share of entity keys, 0 to 10,000. */
  readonly shadow: { readonly version: string; readonly share: number } | null
}
