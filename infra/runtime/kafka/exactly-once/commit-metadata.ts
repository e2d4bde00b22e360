import { fatal } from '../../errors.ts'

/** One log as a commit saw it: its topic id, and where the part ends that tells only of records below the committed offset. */
export interface NotedLog {
  readonly generation: string
  readonly end: number
}

/** What a lane commits beside its position. */
export interface CommitMetadata {
  /** Topic id of the input that the position counts in. */
  readonly input: string
  readonly output: NotedLog | null
  readonly deadLetters: NotedLog
}

/*
 * {"v":1,"in":"<topic id>","out":["<topic id>",<offset>] or null,"dl":["<topic id>",<offset>]}
 */
const VERSION = 1

/** Below 250 bytes; a broker takes 4,096. */
export function encodeCommitMetadata({ input, output, deadLetters }: CommitMetadata): string {
  return JSON.stringify({
    v: VERSION,
    in: input,
    out: output === null ? null : [output.generation, output.end],
    dl: [deadLetters.generation, deadLetters.end],
  })
}

/** Null for an empty one. Throws `foreign_position` (crash) when a lane did not write it. */
export function parseCommitMetadata(text: string): CommitMetadata | null {
  if (text === '') return null
  const fields = jsonObject(text)
  const deadLetters = notedLog(fields['dl'])
  const output = fields['out'] === null ? null : notedLog(fields['out'])
  if (fields['v'] !== VERSION || typeof fields['in'] !== 'string' || !deadLetters || output === undefined) {
    throw fatal('foreign_position', `the committed position carries ${JSON.stringify(text)}, which no lane wrote`)
  }
  return { input: fields['in'], output, deadLetters }
}

function jsonObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

function notedLog(value: unknown): NotedLog | undefined {
  if (!Array.isArray(value)) return undefined
  const [generation, end] = value as unknown[]
  return typeof generation === 'string' && Number.isSafeInteger(end) ? { generation, end: end as number } : undefined
}
