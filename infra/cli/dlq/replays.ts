import { REPLAY_OF_HEADER } from '../../../schemas/headers.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { ClickHouseClient } from '../../runtime/clickhouse/clickhouse-client.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import { headerAt } from '../../runtime/kafka/record-batches/record-headers.ts'

/** Brokers' clocks differ by less. */
const CLOCKS_DIFFER_MS = 60_000
const REPLAY_OF = Buffer.from(REPLAY_OF_HEADER)
/** Events asked for at once. */
const CHUNK = 1_000

/**
 * The records of one partition of `events` that replay a letter, by the letter that they name. A replay is in the partition of its
 * letter, and was appended after it.
 */
export async function readReplays(
  deps: { readonly admin: KafkaAdmin; readonly reader: LogReader },
  topic: string,
  partition: number,
  oldestLetterAt: number,
): Promise<ReadonlyMap<string, readonly number[]>> {
  const { admin, reader } = deps
  const replays = new Map<string, number[]>()
  const { start, end } = await reader.range(topic, partition)
  const since = (await admin.offsetsAt(topic, oldestLetterAt - CLOCKS_DIFFER_MS)).get(partition) ?? start
  for await (const set of reader.read(topic, partition, Math.max(start, since), end, { isolation: 'read_committed' })) {
    for (let row = 0; row < set.length; row++) {
      if ((set.headers.lengths[row] as number) <= 0) continue
      const letter = headerAt(set, row, REPLAY_OF)?.toString()
      if (letter === undefined) continue
      const offsets = replays.get(letter)
      if (offsets === undefined) replays.set(letter, [set.offsets[row] as number])
      else offsets.push(set.offsets[row] as number)
    }
  }
  return replays
}

/** What became of a replay. */
export type ReplayOutcome =
  | { readonly end: 'predicted'; readonly score: number; readonly label: string | null; readonly modelVersion: string }
  | { readonly end: 'dead-lettered'; readonly letter: string; readonly stage: string; readonly reason: string }
  /** Not stored yet. */
  | { readonly end: 'pending' }

/** By the offset of the replay in `events`. */
export async function readOutcomes(
  clickhouse: ClickHouseClient,
  pipeline: CompiledPipeline,
  where: { readonly generation: string; readonly partition: number },
  offsets: readonly number[],
): Promise<ReadonlyMap<number, ReplayOutcome>> {
  const outcomes = new Map<number, ReplayOutcome>(offsets.map((offset) => [offset, { end: 'pending' }]))
  const parameters = { pipeline: pipeline.name, ...where }
  for (let from = 0; from < offsets.length; from += CHUNK) {
    // numbers only, so nothing can be injected
    const list = offsets.slice(from, from + CHUNK).join(',')
    const letters = await clickhouse.rows<Record<'at' | 'letter' | 'stage' | 'reason', string>>(
      `SELECT origin_offset AS at, concat({topic:String}, '-', kafka_partition, '-', kafka_offset) AS letter, stage, reason
       FROM dead_letters FINAL WHERE pipeline = {pipeline:String} AND kind != 'unstored'
         AND origin_generation = {generation:String} AND partition = {partition:Int32} AND origin_offset IN (${list})`,
      { ...parameters, topic: `${pipeline.name}.dead-letters` },
    )
    for (const { at, ...letter } of letters) outcomes.set(Number(at), { end: 'dead-lettered', ...letter })
    const predictions = await clickhouse.rows<{
      at: string
      score: number
      label: string | null
      modelVersion: string
    }>(
      `SELECT origin_offset AS at, score, label, model_version AS modelVersion FROM predictions FINAL
       WHERE pipeline = {pipeline:String} AND role != 'shadow' AND origin_generation = {generation:String}
         AND kafka_partition = {partition:Int32} AND origin_offset IN (${list})`,
      parameters,
    )
    for (const { at, ...prediction } of predictions) outcomes.set(Number(at), { end: 'predicted', ...prediction })
  }
  return outcomes
}
