import type { RecordSet } from '../../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { DeadLetterColumns, LedgerInput, LogColumns } from './lane-ledger.ts'

/*
 * The coordinates in the values of our topics, read by hand: the schemas' first fields, in Avro's binary form behind the
 * five bytes of the registry's wire format. A reader of its own, so that a mistake in the product's does not hide itself.
 *
 *   FeatureVector, Prediction   event_id, tenant, segment STRING; event_time, ingested_at LONG; event_schema_id INT;
 *                               origin_generation STRING, origin_offset LONG, source_generation STRING, source_offset LONG
 *   DeadLetter                  stage, pipeline, reason STRING; kind ENUM; message, tenant STRING; event_id [null, STRING];
 *                               topic STRING; partition INT; source_generation STRING, source_offset LONG,
 *                               origin_generation STRING, origin_offset LONG
 */

const WIRE_HEADER_BYTES = 5

interface Cursor {
  long(): number
  /** Where a string lies; moves behind it. */
  string(): readonly [start: number, end: number]
  equals(text: Buffer, range: readonly [number, number]): boolean
  hash(range: readonly [number, number]): number
}

function cursorAt(bytes: Buffer, start: number): Cursor {
  let at = start + WIRE_HEADER_BYTES
  const long = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++]
      if (byte === undefined) throw new RangeError('a value ends early')
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
    }
  }
  return {
    long,
    string() {
      const length = long()
      at += length
      return [at - length, at]
    },
    equals: (text, [from, to]) => text.length === to - from && bytes.compare(text, 0, text.length, from, to) === 0,
    hash: ([from, to]) => hashBytes(bytes, from, to),
  }
}

/** FNV-1a, never 0. */
function hashBytes(bytes: Buffer, from: number, to: number): number {
  let hash = 0x811c9dc5
  for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193)
  return hash >>> 0 || 1
}

export function hashOfId(id: string): number {
  const bytes = Buffer.from(id)
  return hashBytes(bytes, 0, bytes.length)
}

/** The topics' ids as they are now: coordinates of any other are foreign. */
export type Generations = Readonly<Partial<Record<LedgerInput, string>>>

/** Appends what a fetch brought; `columns` takes no more once it was asked for. */
interface Collector<C> {
  add(set: RecordSet): void
  columns(): C
}

/** Of an events topic whose schema begins with the event id; ids of what is not such a record are 0. */
export function collectEvents(): Collector<Pick<LogColumns, 'offsets' | 'ids'>> {
  const offsets = numbers()
  const ids = numbers()
  return {
    add(set) {
      for (let row = 0; row < set.length; row++) {
        offsets.add(set.offsets[row] as number)
        ids.add(firstStringHash(set, row))
      }
    },
    columns: () => ({ offsets: offsets.take(), ids: Uint32Array.from(ids.take()) }),
  }
}

function firstStringHash(set: RecordSet, row: number): number {
  const start = set.values.starts[row] as number
  const length = set.values.lengths[row] as number
  if (length <= WIRE_HEADER_BYTES || set.values.bytes[start] !== 0) return 0
  const cursor = cursorAt(set.values.bytes, start)
  const range = cursor.string()
  return range[1] > start + length || range[1] < range[0] ? 0 : cursor.hash(range)
}

/** As text: the event id of a label. */
export function firstString({ values: { bytes, starts } }: RecordSet, row: number): string {
  const [from, to] = cursorAt(bytes, starts[row] as number).string()
  return bytes.toString('utf8', from, to)
}

export function collectVectors(events: string, source: string): Collector<LogColumns> {
  const columns = coordinateColumns()
  const eventsId = Buffer.from(events)
  const sourceId = Buffer.from(source)
  return {
    add(set) {
      for (let row = 0; row < set.length; row++) {
        const cursor = cursorAt(set.values.bytes, set.values.starts[row] as number)
        const id = cursor.hash(cursor.string())
        cursor.string()
        cursor.string()
        for (let skipped = 0; skipped < 3; skipped++) cursor.long()
        const ofEvents = cursor.equals(eventsId, cursor.string())
        const origin = cursor.long()
        const ofSource = cursor.equals(sourceId, cursor.string())
        columns.add(set.offsets[row] as number, id, ofEvents ? origin : -1, ofSource ? cursor.long() : -1)
      }
    },
    columns: () => columns.take(),
  }
}

/** `inputs` says what a topic's name means. */
export function collectDeadLetters(
  inputs: ReadonlyMap<string, LedgerInput>,
  generations: Generations,
): Collector<DeadLetterColumns> {
  const columns = coordinateColumns()
  const writer = numbers()
  const writers: { stage: string; input: LedgerInput }[] = []
  const writerOf = (stage: string, input: LedgerInput): number => {
    const known = writers.findIndex((each) => each.stage === stage && each.input === input)
    return known >= 0 ? known : writers.push({ stage, input }) - 1
  }
  return {
    add(set) {
      const { bytes, starts } = set.values
      const text = ([from, to]: readonly [number, number]): string => bytes.toString('utf8', from, to)
      for (let row = 0; row < set.length; row++) {
        const cursor = cursorAt(bytes, starts[row] as number)
        const stage = text(cursor.string())
        cursor.string()
        cursor.string()
        cursor.long()
        cursor.string()
        cursor.string()
        const id = cursor.long() === 0 ? 0 : cursor.hash(cursor.string())
        const input = inputs.get(text(cursor.string())) ?? 'other'
        cursor.long()
        const sourceGeneration = text(cursor.string())
        const source = cursor.long()
        const originGeneration = text(cursor.string())
        const origin = cursor.long()
        writer.add(writerOf(stage, input))
        columns.add(
          set.offsets[row] as number,
          id,
          originGeneration === generations.events ? origin : -1,
          sourceGeneration === generations[input] ? source : -1,
        )
      }
    },
    columns: () => ({ ...columns.take(), writer: Uint8Array.from(writer.take()), writers }),
  }
}

function coordinateColumns() {
  const columns = [numbers(), numbers(), numbers(), numbers()] as const
  const [offsets, ids, origins, sources] = columns
  return {
    add(offset: number, id: number, origin: number, source: number): void {
      offsets.add(offset)
      ids.add(id)
      origins.add(origin)
      sources.add(source)
    },
    take: (): LogColumns => ({
      offsets: offsets.take(),
      ids: Uint32Array.from(ids.take()),
      origins: origins.take(),
      sources: sources.take(),
    }),
  }
}

/** A column that grows. */
function numbers() {
  let values = new Float64Array(1_024)
  let length = 0
  return {
    add(value: number): void {
      if (length === values.length) {
        const larger = new Float64Array(length * 2)
        larger.set(values)
        values = larger
      }
      values[length++] = value
    },
    take: (): Float64Array => values.subarray(0, length),
  }
}
