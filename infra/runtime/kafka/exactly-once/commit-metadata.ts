import { fatal } from '../../errors.ts'
import { SET_BY_HAND } from '../consumer/lane-source.ts'

/** One log as a commit saw it: its topic id, and where the part ends that tells only of records below the committed offset. */
export interface NotedLog {
  readonly topic: string
  readonly generation: string
  readonly end: number
}

/** What a lane commits beside its position. */
export interface CommitMetadata {
  /** Topic id of the input that the position counts in. */
  readonly input: string
  readonly output: NotedLog | null
  readonly deadLetters: NotedLog
  /** Topics that the lane does without: what was committed has ended for whoever would have written them, too. */
  readonly skips: readonly string[]
}

/*
 * {"v":1,"in":"<topic id>","out":["<topic>","<topic id>",<offset>] or null,"dl":["<topic>","<topic id>",<offset>],"skips":["<topic>"]}
 */
const VERSION = 1

/** Well below the 4,096 bytes that a broker takes: topic names have at most 249. */
export function encodeCommitMetadata({ input, output, deadLetters, skips }: CommitMetadata): string {
  const noted = ({ topic, generation, end }: NotedLog): unknown => [topic, generation, end]
  const out = output === null ? null : noted(output)
  return JSON.stringify({ v: VERSION, in: input, out, dl: noted(deadLetters), ...(skips.length > 0 ? { skips } : {}) })
}

/** Null for an empty one, or a position set by hand. Throws `foreign_position` (crash) when a lane did not write it. */
export function parseCommitMetadata(text: string): CommitMetadata | null {
  if (text === '' || text === SET_BY_HAND) return null
  const { v, in: input, out, dl, skips = [] } = jsonObject(text)
  const deadLetters = notedLog(dl)
  const output = out === null ? null : notedLog(out)
  if (
    v !== VERSION ||
    typeof input !== 'string' ||
    deadLetters === undefined ||
    output === undefined ||
    !isNames(skips)
  ) {
    throw fatal('foreign_position', `the committed position carries ${JSON.stringify(text)}, which no lane wrote`)
  }
  return { input, output, deadLetters, skips }
}

interface Fields {
  readonly v?: unknown
  readonly in?: unknown
  readonly out?: unknown
  readonly dl?: unknown
  readonly skips?: unknown
}

function jsonObject(text: string): Fields {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : {}
  } catch (error) {
    if (error instanceof SyntaxError) return {}
    throw error
  }
}

function notedLog(value: unknown): NotedLog | undefined {
  if (!Array.isArray(value)) return undefined
  const [topic, generation, end] = value as unknown[]
  if (typeof topic !== 'string' || typeof generation !== 'string' || !Number.isSafeInteger(end)) return undefined
  return { topic, generation, end: end as number }
}

function isNames(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((name) => typeof name === 'string')
}
