import type { DeadLetter } from '../../../schemas/generated/records.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { stageTopic } from '../../../schemas/topics.ts'
import { createAvroReader } from '../../runtime/avro/avro-reader.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { systemClock } from '../../runtime/clock.ts'
import { fatal } from '../../runtime/errors.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../runtime/kafka/log-reader.ts'
import { sliceAt } from '../../runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../runtime/stage-contracts.ts'
import { type LetterFilter, matches } from './filter.ts'

/*
 * Letters are read from their topic, not from ClickHouse: it has all of them the moment they are written, with their bytes, for
 * 30 days, also while ClickHouse is what is broken. ClickHouse is asked only for what became of replays.
 */

export interface StoredLetter {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Epoch ms. */
  readonly appendedAt: number
  readonly letter: DeadLetter
}

export interface LetterReader {
  readonly topic: string
  readonly partitions: number
  /** Offsets [from, to) of one partition, or all that it has. Records that are no dead letters are counted and passed over. */
  read(partition: number, filter: LetterFilter, from?: number, to?: number): AsyncIterable<StoredLetter>
  readonly unreadable: () => number
}

export async function createLetterReader(
  deps: { readonly admin: KafkaAdmin; readonly reader: LogReader; readonly registry: SchemaRegistry },
  pipeline: CompiledPipeline,
): Promise<LetterReader> {
  const { admin, reader, registry } = deps
  const topic = stageTopic(pipeline.name, 'dead-letters')
  const partitions = (await admin.partitionCounts([topic])).get(topic)
  if (partitions === undefined) throw fatal('unknown_topic', `topic ${topic} does not exist: run millrace topics`)
  const schema = await readContract('dead-letter')
  const avro = createAvroReader<DeadLetter>({
    schema,
    name: 'dead letter',
    registry,
    clock: systemClock,
    unknownSchemaWaitMs: 0,
  })
  let unreadable = 0

  async function* read(
    partition: number,
    filter: LetterFilter,
    first?: number,
    end?: number,
  ): AsyncGenerator<StoredLetter> {
    if (filter.partition !== undefined && filter.partition !== partition) return
    const range = await reader.range(topic, partition)
    const since =
      filter.from === undefined ? range.start : ((await admin.offsetsAt(topic, filter.from)).get(partition) ?? 0)
    const from = Math.max(first ?? since, range.start)
    for await (const set of reader.read(topic, partition, from, Math.min(end ?? range.end, range.end))) {
      const values = Array.from({ length: set.length }, (_, row) => sliceAt(set.values, row))
      await avro.prepare(values)
      for (const [row, value] of values.entries()) {
        const decoded = avro.decode(value)
        if (!decoded.ok) {
          unreadable += 1
          continue
        }
        const appendedAt = set.timestamps[row] as number
        if (!matches(filter, decoded.record, partition, appendedAt)) continue
        yield { topic, partition, offset: set.offsets[row] as number, appendedAt, letter: decoded.record }
      }
    }
  }

  return { topic, partitions, read, unreadable: () => unreadable }
}
