import { letterPlaceText, REPLAY_OF_HEADER } from '../../../schemas/headers.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import { sliceAt } from '../../runtime/kafka/record-batches/columns.ts'
import { headersAt } from '../../runtime/kafka/record-batches/record-headers.ts'
import type { OutgoingRecord, RecordWriter } from '../../runtime/kafka/record-writer.ts'
import type { LetterFilter } from './filter.ts'
import type { LetterReader, StoredLetter } from './read-letters.ts'
import { type Refusal, replayableOf } from './replayable.ts'
import { readReplays } from './replays.ts'

export interface ReplayDeps {
  readonly pipeline: CompiledPipeline
  readonly admin: KafkaAdmin
  readonly reader: LogReader
  readonly letters: LetterReader
  readonly writer: RecordWriter
  /** Topic id of `events` now. */
  readonly generation: string
  readonly clock: Clock
}

export interface ReplayOptions {
  readonly filter: LetterFilter
  readonly dryRun: boolean
  /** Also letters that were replayed before. */
  readonly again: boolean
  /** Most letters that are replayed; null = all. */
  readonly limit: number | null
  /** Events a second; null = as fast as they go. */
  readonly rate: number | null
}

export interface ReplayCounts {
  readonly matched: number
  /** Or would be, in a dry run. */
  readonly replayed: number
  readonly replayedBefore: number
  /** Beyond the limit. */
  readonly left: number
  readonly refused: ReadonlyMap<Refusal, number>
}

/** Records of one write. */
const MAX_RECORDS = 200
const MAX_BYTES = 400_000
/** Writes a second at most, so that a rate is kept evenly. */
const WRITES_PER_SECOND = 10

interface Pending {
  readonly partition: number
  readonly records: OutgoingRecord[]
  bytes: number
}

/**
 * Puts the events of dead letters into `events` again: same partition, key, bytes and headers, and one more header that names the
 * letter. A partition's letters keep their order. What was replayed before is seen in `events` itself, so a replay that was
 * interrupted goes on where it stopped when it is started again. Rejects with what the writer rejects with.
 */
export async function replayLetters(deps: ReplayDeps, options: ReplayOptions): Promise<ReplayCounts> {
  const { letters, writer, clock } = deps
  const { dryRun, limit, rate } = options
  const counts = { matched: 0, replayed: 0, replayedBefore: 0, left: 0, refused: new Map<Refusal, number>() }
  const startedAt = clock.monotonic()
  const maxRecords =
    rate === null ? MAX_RECORDS : Math.max(1, Math.min(MAX_RECORDS, Math.floor(rate / WRITES_PER_SECOND)))
  let written = 0

  async function flush({ partition, records }: Pending): Promise<void> {
    if (records.length === 0) return
    if (rate !== null) await clock.sleep(Math.max(0, startedAt + (written / rate) * 1_000 - clock.monotonic()))
    await writer.write([{ topic: deps.pipeline.event.topic, partition, records }])
    written += records.length
    counts.replayed += records.length
  }

  for (let partition = 0; partition < letters.partitions; partition++) {
    const before = await replayedBefore(deps, options.filter, partition)
    if (before === null) continue
    let pending: Pending = { partition, records: [], bytes: 0 }
    let planned = counts.replayed
    for await (const stored of letters.read(partition, options.filter)) {
      counts.matched += 1
      if (!options.again && before.has(letterPlaceText(stored))) {
        counts.replayedBefore += 1
        continue
      }
      if (limit !== null && planned >= limit) {
        counts.left += 1
        continue
      }
      const event = await eventOf(deps, stored)
      if (typeof event === 'string') {
        counts.refused.set(event, (counts.refused.get(event) ?? 0) + 1)
        continue
      }
      planned += 1
      if (dryRun) {
        counts.replayed += 1
        continue
      }
      const bytes = event.value.length + (event.key?.length ?? 0)
      if (pending.records.length >= maxRecords || (pending.records.length > 0 && pending.bytes + bytes > MAX_BYTES)) {
        await flush(pending)
        pending = { partition, records: [], bytes: 0 }
      }
      pending.records.push(event)
      pending.bytes += bytes
    }
    await flush(pending)
  }
  return counts
}

/** Letters of the partition that `events` holds a replay of; null when there is no such letter at all. */
async function replayedBefore(
  deps: ReplayDeps,
  filter: LetterFilter,
  partition: number,
): Promise<ReadonlyMap<string, readonly number[]> | null> {
  for await (const { appendedAt } of deps.letters.read(partition, filter)) {
    return await readReplays(deps, deps.pipeline.event.topic, partition, appendedAt)
  }
  return null
}

async function eventOf(deps: ReplayDeps, stored: StoredLetter): Promise<OutgoingRecord | Refusal> {
  const { letter } = stored
  const source = replayableOf(letter, deps.pipeline.event.topic)
  if (source.from === null) return source.refusal
  const place = letterPlaceText(stored)
  const own = replayRecord(letter.key, letter.value, Object.entries(letter.headers), place)
  if (source.from === 'letter') return own
  const original = await readEvent(deps, stored.partition, source.generation, source.offset, place)
  return original ?? (source.letterIsWhole ? own : 'gone')
}

/** Null when the record is gone, or was never in the events topic that there is now. */
async function readEvent(
  { reader, pipeline, generation }: ReplayDeps,
  partition: number,
  itsGeneration: string,
  offset: number,
  place: string,
): Promise<OutgoingRecord | null> {
  const { topic } = pipeline.event
  if (itsGeneration !== generation || offset < (await reader.range(topic, partition)).start) return null
  for await (const set of reader.read(topic, partition, offset, offset + 1, { isolation: 'read_committed' })) {
    if (set.length === 0) continue
    const headers = headersAt(set, 0).map(({ key, value }) => [key, value ?? Buffer.alloc(0)] as const)
    return replayRecord(sliceAt(set.keys, 0), sliceAt(set.values, 0) ?? Buffer.alloc(0), headers, place)
  }
  return null
}

function replayRecord(
  key: Buffer | null,
  value: Buffer,
  headers: readonly (readonly [name: string, value: Buffer])[],
  place: string,
): OutgoingRecord {
  return { key, value, headers: { ...Object.fromEntries(headers), [REPLAY_OF_HEADER]: Buffer.from(place) } }
}
