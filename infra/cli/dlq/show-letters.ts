import { letterPlaceText, parseLetterPlace } from '../../../schemas/headers.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import { fateOf } from '../../runtime/errors.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import type { LetterFilter } from './filter.ts'
import type { LetterReader, StoredLetter } from './read-letters.ts'
import { type ReplayOutcome, readOutcomes, readReplays } from './replays.ts'
import type { ShownLetter } from './text.ts'

export interface ShowDeps {
  readonly pipeline: CompiledPipeline
  readonly admin: KafkaAdmin
  readonly reader: LogReader
  readonly letters: LetterReader
  readonly clickhouse: ClickHouseClient
  /** Topic id of `events`. */
  readonly generation: string
}

export interface LetterSum {
  readonly stage: string
  readonly reason: string
  readonly kind: string
  readonly count: number
}

/** Counts of all that match, most first, and the newest of them, oldest first. */
export async function listLetters(
  deps: ShowDeps,
  filter: LetterFilter,
  limit: number,
): Promise<{ readonly sums: readonly LetterSum[]; readonly letters: readonly ShownLetter[] }> {
  const sums = new Map<string, { stage: string; reason: string; kind: string; count: number }>()
  let newest: StoredLetter[] = []
  for (let partition = 0; partition < deps.letters.partitions; partition++) {
    for await (const stored of deps.letters.read(partition, filter)) {
      const { stage, reason, kind } = stored.letter
      const key = `${stage}\n${reason}\n${kind}`
      const sum = sums.get(key) ?? { stage, reason, kind, count: 0 }
      sums.set(key, sum)
      sum.count += 1
      newest.push(stored)
      if (newest.length >= 2 * limit + 1_000) newest = newestOf(newest, limit)
    }
  }
  return {
    sums: [...sums.values()].sort((a, b) => b.count - a.count),
    letters: await withReplays(deps, newestOf(newest, limit)),
  }
}

function newestOf(letters: readonly StoredLetter[], limit: number): StoredLetter[] {
  return letters.toSorted((a, b) => a.appendedAt - b.appendedAt).slice(-limit)
}

/** The letter at a place (`3/17`, or as a header names it), or every letter of an event id. */
export async function findLetters(deps: ShowDeps, wanted: string): Promise<readonly ShownLetter[]> {
  const [, partition, offset] = /^(\d+)\/(\d+)$/.exec(wanted) ?? []
  const place =
    partition === undefined ? parseLetterPlace(wanted) : { partition: Number(partition), offset: Number(offset) }
  const isPlace = place !== null && (!('topic' in place) || place.topic === deps.letters.topic)
  const found: StoredLetter[] = []
  for (let lane = 0; lane < deps.letters.partitions; lane++) {
    if (isPlace && lane !== place.partition) continue
    const read = isPlace
      ? deps.letters.read(lane, {}, place.offset, place.offset + 1)
      : deps.letters.read(lane, { id: wanted })
    for await (const stored of read) if (!isPlace || stored.offset === place.offset) found.push(stored)
  }
  return await withReplays(deps, found)
}

async function withReplays(deps: ShowDeps, letters: readonly StoredLetter[]): Promise<readonly ShownLetter[]> {
  const shown = new Map<StoredLetter, ShownLetter>()
  for (const [partition, lane] of Map.groupBy(letters, (stored) => stored.partition)) {
    const oldest = Math.min(...lane.map(({ appendedAt }) => appendedAt))
    const replays = await readReplays(deps, deps.pipeline.event.topic, partition, oldest)
    const offsetsOf = (stored: StoredLetter): readonly number[] => replays.get(letterPlaceText(stored)) ?? []
    const outcomes = await outcomesOf(deps, partition, lane.flatMap(offsetsOf))
    for (const stored of lane) {
      const list = offsetsOf(stored).map((offset) => ({ offset, outcome: outcomes?.get(offset) ?? null }))
      shown.set(stored, { stored, replays: list })
    }
  }
  return letters.flatMap((stored) => shown.get(stored) ?? [])
}

/** Null when ClickHouse does not answer. */
async function outcomesOf(
  { clickhouse, pipeline, generation }: ShowDeps,
  partition: number,
  offsets: readonly number[],
): Promise<ReadonlyMap<number, ReplayOutcome> | null> {
  try {
    return await readOutcomes(clickhouse, pipeline, { generation, partition }, offsets)
  } catch (error) {
    if (fateOf(error) !== 'retry') throw error
    return null
  }
}
