/**
 * Every error has one fate, decided by its code and never by its text:
 *
 *   retry   a dependency is down: back off and try the same work again, nothing is given up
 *   reject  this record is bad: it becomes a dead letter with its reason, the others go on
 *   crash   anything not understood: the process exits non-zero and its supervisor restarts it
 *
 * A reject is normally a value (see kafka/outcome.ts). What is thrown is a retry when it says so, else a crash.
 */
export type Fate = 'retry' | 'reject' | 'crash'

export class MillraceError extends Error {
  readonly code: string
  readonly fate: Fate

  constructor(fate: Fate, code: string, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.name = 'MillraceError'
    this.fate = fate
    this.code = code
  }
}

/** A dependency is down or not ready; the same work may succeed later. */
export function retryable(code: string, message: string, cause?: unknown): MillraceError {
  return new MillraceError('retry', code, message, { cause })
}

/** A record that can never succeed. */
export function rejected(code: string, message: string, cause?: unknown): MillraceError {
  return new MillraceError('reject', code, message, { cause })
}

/** Something must be mended before the process can work: configuration, a model file, an incompatible schema. */
export function fatal(code: string, message: string, cause?: unknown): MillraceError {
  return new MillraceError('crash', code, message, { cause })
}

export function fateOf(error: unknown): Fate {
  return error instanceof MillraceError ? error.fate : 'crash'
}

/** For log lines and messages: the error's code where it has one, its text otherwise. */
export function describeError(error: unknown): { readonly code: string; readonly message: string } {
  if (error instanceof MillraceError) return { code: error.code, message: error.message }
  if (error instanceof Error) {
    const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name
    return { code, message: error.message }
  }
  return { code: 'unknown', message: String(error) }
}
