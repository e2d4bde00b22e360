import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { LogReader } from '../../../infra/runtime/kafka/log-reader.ts'
import type { RecordSet } from '../../../infra/runtime/kafka/record-batches/decode-record-set.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { stageTopic } from '../../../schemas/topics.ts'
import { checkLane, type Irregularity, type LaneLogs, type LaneVerdict, type LedgerInput } from './lane-ledger.ts'
import { collectDeadLetters, collectEvents, collectVectors, firstString, type Generations } from './record-columns.ts'

export interface LedgerVerdict extends Omit<LaneVerdict, 'examples'> {
  /** Nothing irregular, and no label without its row. */
  readonly exact: boolean
  readonly examples: readonly string[]
  /** Rows of ClickHouse beyond one per record, which FINAL hides; as many as merges have left. */
  readonly physicalDuplicates: { readonly predictions: number; readonly deadLetters: number; readonly labels: number }
  readonly labels: number
  /** Labels without a row and without a dead letter, and rows that are not those of the last label. */
  readonly labelsMissing: number
  readonly checkedInMs: number
}

export interface LedgerDeps {
  readonly pipeline: CompiledPipeline
  readonly partitions: number
  readonly reader: LogReader
  readonly clickhouse: ClickHouseClient
  /** Ids of the topics as they are now, by name. */
  readonly topicIds: ReadonlyMap<string, string>
}

/** The names of the topics that `keepLedger` needs the ids of. */
export function ledgerTopics(pipeline: CompiledPipeline): ReadonlyMap<string, LedgerInput> {
  return new Map<string, LedgerInput>([
    [pipeline.event.topic, 'events'],
    [stageTopic(pipeline.name, 'features'), 'features'],
    [stageTopic(pipeline.name, 'predictions'), 'predictions'],
    [stageTopic(pipeline.name, 'dead-letters'), 'dead-letters'],
    ...(pipeline.label === null ? [] : ([[pipeline.label.topic, 'labels']] as const)),
  ])
}

/** Reads everything that the pipeline's topics and tables hold, and accounts for every event, lane by lane. */
export async function keepLedger(deps: LedgerDeps): Promise<LedgerVerdict> {
  const since = performance.now()
  const { pipeline, clickhouse, topicIds } = deps
  const inputs = ledgerTopics(pipeline)
  const generations: Generations = Object.fromEntries([...inputs].map(([topic, input]) => [input, topicIds.get(topic)]))
  const rows = {
    predictions: await storedOffsets(clickhouse, 'predictions', pipeline.name, generations.predictions ?? ''),
    deadLetters: await storedOffsets(clickhouse, 'dead_letters', pipeline.name, generations['dead-letters'] ?? ''),
  }
  const topics = {
    events: pipeline.event.topic,
    features: stageTopic(pipeline.name, 'features'),
    predictions: stageTopic(pipeline.name, 'predictions'),
    deadLetters: stageTopic(pipeline.name, 'dead-letters'),
  }
  const verdicts: LaneVerdict[] = []
  const unstoredLabels = new Set<string>()
  for (let partition = 0; partition < deps.partitions; partition++) {
    const logs = await readLane(deps.reader, topics, partition, inputs, generations)
    const none = new Float64Array(0)
    const stored = {
      predictions: rows.predictions.get(partition) ?? none,
      deadLetters: rows.deadLetters.get(partition) ?? none,
    }
    verdicts.push(checkLane({ ...logs, stored }))
    const { writer, writers, sources } = logs.deadLetters
    writer.forEach((index, row) => {
      if (writers[index]?.input === 'labels') unstoredLabels.add(`${partition}/${sources[row]}`)
    })
  }
  const labels = await labelAccount(deps, generations.labels, unstoredLabels)
  const total = sumOf(verdicts)
  return {
    ...total,
    exact: Object.values(total.found).every((count) => count === 0) && labels.labelsMissing === 0,
    examples: verdicts.flatMap(({ examples }) => examples),
    physicalDuplicates: {
      predictions: await surplusRows(clickhouse, 'predictions', pipeline.name),
      deadLetters: await surplusRows(clickhouse, 'dead_letters', pipeline.name),
      labels: await surplusRows(clickhouse, 'labels', pipeline.name),
    },
    ...labels,
    checkedInMs: Math.round(performance.now() - since),
  }
}

/** The topics of a lane; without `features` predictions are made from events. */
interface LaneTopicNames {
  readonly events: string
  readonly features: string | null
  readonly predictions: string
  readonly deadLetters: string
}

/** `inputs` says what the topics that dead letters name are. Rows are not read. */
export async function readLane(
  reader: LogReader,
  topics: LaneTopicNames,
  partition: number,
  inputs: ReadonlyMap<string, LedgerInput>,
  generations: Generations,
): Promise<LaneLogs> {
  const events = generations.events ?? ''
  const read = async <C>(topic: string, collector: { add(set: RecordSet): void; columns(): C }): Promise<C> => {
    const { start, end } = await reader.range(topic, partition)
    const isolation = 'read_uncommitted' as const
    for await (const set of reader.read(topic, partition, start, end, { isolation })) collector.add(set)
    return collector.columns()
  }
  const { features } = topics
  return {
    partition,
    events: await read(topics.events, collectEvents()),
    features: features === null ? null : await read(features, collectVectors(events, events)),
    predictions: await read(
      topics.predictions,
      collectVectors(events, features === null ? events : (generations.features ?? '')),
    ),
    deadLetters: await read(topics.deadLetters, collectDeadLetters(inputs, generations)),
    stored: null,
  }
}

/** Offsets of the records whose rows a reader of the table sees, by partition. */
async function storedOffsets(
  clickhouse: ClickHouseClient,
  table: string,
  pipeline: string,
  generation: string,
): Promise<ReadonlyMap<number, Float64Array>> {
  const answer = await clickhouse.rows<{ partition: number; offsets: number[] }>(
    `SELECT kafka_partition AS partition, groupArray(toFloat64(kafka_offset)) AS offsets
     FROM ${table} FINAL WHERE pipeline = {pipeline:String} AND kafka_generation = {generation:String}
     GROUP BY kafka_partition`,
    { pipeline, generation },
  )
  return new Map(answer.map(({ partition, offsets }) => [partition, Float64Array.from(offsets)]))
}

async function surplusRows(clickhouse: ClickHouseClient, table: string, pipeline: string): Promise<number> {
  const [row] = await clickhouse.rows<{ surplus: string }>(
    `SELECT count() - uniqExact(kafka_generation, kafka_partition, kafka_offset) AS surplus
     FROM ${table} WHERE pipeline = {pipeline:String}`,
    { pipeline },
  )
  return Number(row?.surplus ?? 0)
}

/** Of labels with one event id the last one has the row: a producer that tries again writes them twice. */
async function labelAccount(
  { pipeline, partitions, reader, clickhouse }: LedgerDeps,
  generation: string | undefined,
  unstored: ReadonlySet<string>,
): Promise<{ readonly labels: number; readonly labelsMissing: number }> {
  if (pipeline.label === null || generation === undefined) return { labels: 0, labelsMissing: 0 }
  const { topic } = pipeline.label
  const stored = await storedOffsets(clickhouse, 'labels', pipeline.name, generation)
  let labels = 0
  let labelsMissing = 0
  for (let partition = 0; partition < partitions; partition++) {
    const last = new Map<string, number>()
    const { start, end } = await reader.range(topic, partition)
    for await (const set of reader.read(topic, partition, start, end)) {
      labels += set.length
      for (let row = 0; row < set.length; row++) {
        if (unstored.has(`${partition}/${set.offsets[row]}`)) continue
        last.set(firstString(set, row), set.offsets[row] as number)
      }
    }
    const rows = new Set(stored.get(partition))
    for (const offset of last.values()) if (!rows.delete(offset)) labelsMissing++
    labelsMissing += rows.size
  }
  return { labels, labelsMissing }
}

function sumOf(verdicts: readonly LaneVerdict[]): Omit<LaneVerdict, 'examples'> {
  const sum = (value: (verdict: LaneVerdict) => number): number =>
    verdicts.reduce((total, verdict) => total + value(verdict), 0)
  const kinds: readonly Irregularity[] = ['missing', 'double', 'duplicate', 'out_of_order', 'foreign', 'mistaken']
  return {
    events: sum(({ events }) => events),
    features: sum(({ features }) => features),
    predictions: sum(({ predictions }) => predictions),
    deadLetters: sum(({ deadLetters }) => deadLetters),
    unstored: sum(({ unstored }) => unstored),
    found: Object.fromEntries(kinds.map((kind) => [kind, sum(({ found }) => found[kind])])) as Record<
      Irregularity,
      number
    >,
  }
}
