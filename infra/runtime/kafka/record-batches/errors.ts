import { MillraceError } from '../../errors.ts'

/**
 *   corrupt_records      the bytes are not what the format says: checksum, lengths, counts, compressed data
 *   records_too_large    a batch decompresses to more than the caller allows
 *   unsupported_records  an older message format, an unknown codec
 */
export type RecordsErrorCode = 'corrupt_records' | 'records_too_large' | 'unsupported_records'

/** What the inner readers throw; whoever knows which batch is read makes a RecordsError of it. */
export class UnreadableError extends Error {
  readonly code: RecordsErrorCode

  constructor(code: RecordsErrorCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options)
    this.name = 'UnreadableError'
    this.code = code
  }
}

export function corrupt(what: string, cause?: unknown): UnreadableError {
  return new UnreadableError('corrupt_records', what, { cause })
}

/** A batch cannot be read. Nothing of the record set is handed out; the position stays where it was. */
export class RecordsError extends MillraceError {
  /** First offset of the batch; the offset that was asked for where the batch does not tell its own. */
  readonly offset: number

  constructor(offset: number, { code, message, cause }: UnreadableError) {
    super('crash', code, `record batch at offset ${offset}: ${message}`, { cause })
    this.name = 'RecordsError'
    this.offset = offset
  }
}
