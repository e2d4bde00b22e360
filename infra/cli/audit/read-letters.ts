import { WIRE_HEADER_BYTES as HEADER_BYTES } from '../../runtime/avro/wire-format.ts'
import type { RecordSet } from '../../runtime/kafka/record-batches/decode-record-set.ts'
import { AvroWalk } from './avro-walk.ts'
import { ORIGIN, type OriginColumns } from './event-ledger.ts'
import type { KnownLayout } from './read-origins.ts'

/*
 * DeadLetter begins (schemas/avro/dead-letter.avsc):
 *
 *   stage, pipeline, reason: string, kind: enum, message, tenant: string, event_id: ["null", "string"], topic: string,
 *   partition: int, source_generation: string, source_offset: long, origin_generation: string, origin_offset: long
 */
const KINDS = ['rejected', 'filtered', 'unstored', 'retention_lost'] as const

export interface Letter {
  /** In the dead letter topic. */
  readonly offset: number
  readonly stage: string
  readonly reason: string
  readonly kind: (typeof KINDS)[number]
  readonly message: string
  readonly topic: string
  readonly partition: number
  readonly sourceGeneration: string
  readonly sourceOffset: number
  readonly originGeneration: string
  readonly originOffset: number
}

const walk = new AvroWalk()

/** The leading fields of each dead letter; the offset alone where its bytes are none of ours. Letters are few: an object each. */
export function* readLetters(set: RecordSet, known: KnownLayout): Generator<Letter | number> {
  const { values } = set
  for (let row = 0; row < set.length; row++) {
    const offset = set.offsets[row] as number
    const start = values.starts[row] as number
    const end = start + (values.lengths[row] as number)
    const isOurs =
      end - start >= HEADER_BYTES && values.bytes[start] === 0 && known(values.bytes.readInt32BE(start + 1))
    walk.bytes = values.bytes
    walk.at = start + HEADER_BYTES
    const letter = isOurs ? readLetter(offset) : null
    yield letter === null || walk.at > end ? offset : letter
  }
}

function readLetter(offset: number): Letter | null {
  const stage = walk.text()
  walk.skipBytes()
  const reason = walk.text()
  const kind = KINDS[walk.long()]
  const message = walk.text()
  walk.skipBytes()
  if (walk.long() !== 0) walk.skipBytes()
  const topic = walk.text()
  const partition = walk.long()
  const sourceGeneration = walk.text()
  const sourceOffset = walk.long()
  const originGeneration = walk.text()
  const originOffset = walk.long()
  if (kind === undefined) return null
  return {
    offset,
    stage,
    reason,
    kind,
    message,
    topic,
    partition,
    sourceGeneration,
    sourceOffset,
    originGeneration,
    originOffset,
  }
}

/** Letters that end events, in columns; `origins` are in the events topic of that generation. */
export function originsOf(letters: readonly Letter[], generation: string): OriginColumns {
  return {
    length: letters.length,
    offsets: Float64Array.from(letters, ({ offset }) => offset),
    origins: Float64Array.from(letters, ({ originOffset }) => originOffset),
    kinds: Uint8Array.from(letters, ({ kind, originGeneration, originOffset }) => {
      // a record of features that nobody could read has no event that is known
      if (kind === 'unstored' || kind === 'retention_lost' || originOffset < 0) return ORIGIN.aside
      return originGeneration === generation ? ORIGIN.known : ORIGIN.otherGeneration
    }),
  }
}
