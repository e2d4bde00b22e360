import { fatal } from '../../errors.ts'
import type { LogReader } from '../log-reader.ts'
import { sliceAt } from '../record-batches/columns.ts'
import type { DeadLetterCoordinates, FoundDeadLetter } from './lane-tail.ts'
import type { Coordinates } from './lane-writer.ts'

/** How the caller's records tell where they stand; null = it is none of them. */
export interface TailDecoders {
  readonly outputCoordinates: (value: Buffer) => Coordinates | null
  readonly deadLetterCoordinates: (value: Buffer) => DeadLetterCoordinates | null
}

interface Tail {
  readonly topic: string
  readonly partition: number
  readonly start: number
  /** Offset of the marker that fenced it. */
  readonly marker: number
}

/** First step back from the marker, offsets; each further one is larger. */
const FIRST_STEP = 1
const STEP_GROWTH = 8

/** The last record below the marker; null when there is none between the log's start and the marker. Throws `foreign_record` (crash). */
export async function readLastOutput(
  logReader: LogReader,
  decoders: TailDecoders,
  { topic, partition, start, marker }: Tail,
  signal: AbortSignal,
): Promise<Coordinates | null> {
  let to = marker
  for (let step = FIRST_STEP; to > start; step *= STEP_GROWTH) {
    const from = Math.max(start, marker - step)
    let last: { readonly offset: number; readonly value: Buffer | null } | null = null
    for await (const set of logReader.read(topic, partition, from, to, { signal })) {
      const row = set.length - 1
      if (row >= 0) last = { offset: set.offsets[row] as number, value: sliceAt(set.values, row) }
    }
    if (last !== null) {
      const coordinates = last.value === null ? null : decoders.outputCoordinates(last.value)
      if (coordinates === null) throw foreign(topic, partition, last.offset)
      return coordinates
    }
    to = from
  }
  return null
}

/** The dead letters between an offset and the marker that matter. Throws `foreign_record` (crash). */
export async function readDeadLetters(
  logReader: LogReader,
  decoders: TailDecoders,
  { topic, partition, start, marker }: Tail,
  matters: (letter: DeadLetterCoordinates) => boolean,
  signal: AbortSignal,
): Promise<readonly FoundDeadLetter[]> {
  const found: FoundDeadLetter[] = []
  for await (const set of logReader.read(topic, partition, start, marker, { signal })) {
    for (let row = 0; row < set.length; row++) {
      const offset = set.offsets[row] as number
      const value = sliceAt(set.values, row)
      const letter = value === null ? null : decoders.deadLetterCoordinates(value)
      if (letter === null) throw foreign(topic, partition, offset)
      if (matters(letter)) found.push({ offset, letter })
    }
  }
  return found
}

function foreign(topic: string, partition: number, offset: number): Error {
  return fatal('foreign_record', `${topic}/${partition} holds a record at ${offset} that no stage of Millrace wrote`)
}
