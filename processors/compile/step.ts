import type { Scalar } from '../../schemas/pipeline/compiled.ts'

/** A decoded event, in the shape of the pipeline's own schema: times in epoch ms. */
export type EventRecord = Readonly<Record<string, unknown>>

/** Why a step gives a record up; never thrown. */
export interface StepFailure {
  /** One of DEAD_LETTER_REASONS, or the name of one of the pipeline's checks. */
  readonly reason: string
  /** Names the step and the field. */
  readonly message: string
}

export type StepResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: StepFailure }

export function failed(reason: string, message: string): { readonly ok: false; readonly failure: StepFailure } {
  return { ok: false, failure: { reason, message } }
}

const MESSAGE_CHARACTERS = 200

/**
 * Calls the pipeline's own code. What it throws on one record, and throws again on the same record, is about that record:
 * `step_error`. What it throws once only is forgotten.
 */
export function callUserCode<T>(
  step: string,
  code: (...values: readonly Scalar[]) => T,
  values: readonly Scalar[],
): StepResult<T> {
  try {
    return { ok: true, value: code(...values) }
  } catch {
    try {
      return { ok: true, value: code(...values) }
    } catch (error) {
      return failed('step_error', `${step} threw ${thrownText(error)}`.slice(0, MESSAGE_CHARACTERS))
    }
  }
}

function thrownText(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : `a ${typeof error}`
}

/** Reads fields of an event as arguments for the pipeline's own code. */
export function argumentsOf(fields: readonly string[]): (event: EventRecord) => readonly Scalar[] {
  return (event) => fields.map((field) => scalar(event[field]))
}

/**
 * A field that is absent (a golden event may leave out what has a default) reads as null; a long that is no safe integer as
 * the nearest number.
 */
export function scalar(value: unknown): Scalar {
  if (typeof value === 'bigint') return Number(value)
  return value === undefined ? null : (value as Scalar)
}
