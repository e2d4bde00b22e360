import type { ModelProfile } from '../../../schemas/control/models.ts'
import type { Provider } from '../../execution/run-rows.ts'

/** In this order: each is done only when those before it found nothing. */
export const PROBATION_STEPS = ['files', 'structure', 'load', 'batches', 'missing', 'profile'] as const
export type ProbationStep = (typeof PROBATION_STEPS)[number]

/**
 * Why a version is refused:
 *
 *   files      manifest, digest, size
 *   structure  bad_structure, domain, control_flow, functions, external_data, trees
 *   load       invalid_model (not loaded, not what the manifest says, or golden rows answered wrongly), provider_missing
 *   batches    batches (a row's outputs depend on the rows beside it, or a batch fails), outputs (not finite, out of range)
 *   missing    outputs
 *   any        crashed, timed_out, out_of_memory
 */
export type ProbationCode =
  | 'manifest'
  | 'digest'
  | 'size'
  | 'bad_structure'
  | 'domain'
  | 'control_flow'
  | 'functions'
  | 'external_data'
  | 'trees'
  | 'invalid_model'
  | 'provider_missing'
  | 'batches'
  | 'outputs'
  | 'crashed'
  | 'timed_out'
  | 'out_of_memory'

/** What a model may have though it can make it run without end, or crash the runtime when it is loaded. */
export interface Allowed {
  readonly controlFlow: boolean
  readonly functions: boolean
}

export interface ProbationLimits {
  /** Resident memory of the child. */
  readonly memoryBytes: number
  /** For everything together. */
  readonly timeMs: number
  /** All files of the version together. */
  readonly fileBytes: number
  /** Largest batch that it is given: so many rows, or so many bytes of inputs and outputs, whichever are fewer. */
  readonly rows: number
  readonly batchBytes: number
  readonly allowed: Allowed
  /** Whether its cost is measured, which takes about a second. */
  readonly measure: boolean
}

export const DEFAULT_LIMITS: ProbationLimits = {
  memoryBytes: 2_147_483_648,
  timeMs: 30_000,
  fileBytes: 1_073_741_824,
  rows: 4_096,
  batchBytes: 8_388_608,
  allowed: { controlFlow: false, functions: false },
  measure: true,
}

export interface ProbationReport {
  readonly passed: readonly ProbationStep[]
  /** Null = it may serve. */
  readonly refusal: ProbationRefusal | null
  /** What was noticed and does no harm. */
  readonly remarks: readonly string[]
  readonly profiles: readonly ModelProfile[]
}

export interface ProbationRefusal {
  readonly step: ProbationStep
  readonly code: ProbationCode
  readonly message: string
}

/** What the child is told. */
export interface Candidate {
  readonly folder: string
  readonly provider: Provider
  readonly limits: ProbationLimits
  /** Only load it, and say what it answers to its golden rows. */
  readonly answerOnly: boolean
}

/** What the child says, as it goes; then it is `done`. */
export type ProbationMessage =
  | { readonly kind: 'began'; readonly step: ProbationStep }
  | { readonly kind: 'remark'; readonly text: string }
  /** It does not know why. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'answered'; readonly outputs: Answers }
  | { readonly kind: 'done'; readonly profile: ModelProfile | null; readonly refusal: ProbationRefusal | null }

/** Outputs of each golden row. */
export type Answers = readonly (readonly number[])[]
