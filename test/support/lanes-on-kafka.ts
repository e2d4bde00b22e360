import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { readCoordinates } from '../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { createLaneClaims, type LaneClaimsOptions } from '../../infra/runtime/kafka/exactly-once/lane-claims.ts'
import type { DeadLetterCoordinates } from '../../infra/runtime/kafka/exactly-once/lane-tail.ts'
import type {
  Coordinates,
  LaneClaims,
  LaneTopics,
  LaneWriter,
} from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { createKafkaClient } from '../../infra/runtime/kafka/kafka-client.ts'
import { createLogReader, type LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { outgoingColumns } from '../../infra/runtime/kafka/producer/outgoing-columns.ts'
import { type RecordColumns, sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { DeadLetter, FeatureVector } from '../../schemas/generated/records.ts'
import { eventually } from './eventually.ts'
import { uniqueName } from './unique-name.ts'

/** Lanes with real claims, whose records carry coordinates and nothing else. */
export interface LanesOnKafka {
  readonly connections: KafkaConnections
  readonly logReader: LogReader
  readonly admin: KafkaAdmin
  /** Makes the topics, one partition each: `<p>.events`, `.features`, `.predictions`, `.dead-letters`. */
  newPipeline(): Promise<Pipeline>
  claims(options?: Partial<LaneClaimsOptions>): LaneClaims
  /** Everything that was ever written there, in order. */
  outputs(topic: string): Promise<readonly Coordinates[]>
  deadLetters(topic: string): Promise<readonly DeadLetterCoordinates[]>
  stop(): Promise<void>
}

export interface Pipeline {
  readonly events: string
  readonly features: string
  readonly predictions: string
  readonly deadLetters: string
  /** Topic ids by name. */
  ids(): Promise<ReadonlyMap<string, string>>
}

const PARTITION = 0
const READY_MS = 60_000
const schemaOf = (name: string) =>
  parseAvroSchema(readFileSync(path.resolve(import.meta.dirname, `../../schemas/avro/${name}.avsc`), 'utf8'), name)
const VECTOR = schemaOf('feature-vector')
const LETTER = schemaOf('dead-letter')
const readLetter = LETTER.readerOf(LETTER)

export async function lanesOn(brokers: readonly string[]): Promise<LanesOnKafka> {
  const config = { brokers }
  const connections = createKafkaConnections({ config, clientId: 'lanes', logger: silentLogger, clock: systemClock })
  const logReader = createLogReader({ connections, clock: systemClock })
  const admin = await startKafkaAdmin(createKafkaClient(config, 'lanes', silentLogger))
  const opened: LaneClaims[] = []

  async function read<T>(topic: string, decode: (value: Buffer) => T | null): Promise<readonly T[]> {
    const { start, end } = await logReader.range(topic, PARTITION)
    const found: T[] = []
    for await (const set of logReader.read(topic, PARTITION, start, end)) {
      for (let row = 0; row < set.length; row++) {
        const value = sliceAt(set.values, row)
        const decoded = value === null ? null : decode(value)
        if (decoded === null) throw new Error(`a foreign record at ${set.offsets[row]} of ${topic}`)
        found.push(decoded)
      }
    }
    return found
  }

  return {
    connections,
    logReader,
    admin: admin.value,
    async newPipeline() {
      const name = uniqueName('lanes')
      const [events, features, predictions, deadLetters] = ['events', 'features', 'predictions', 'dead-letters'].map(
        (topic) => `${name}.${topic}`,
      ) as [string, string, string, string]
      const names = [events, features, predictions, deadLetters]
      for (const topic of names) {
        await eventually(() => admin.value.createTopic({ name: topic, partitions: 1, replicas: 1, config: {} }), {
          deadlineMs: READY_MS,
        })
      }
      const ids = async (): Promise<ReadonlyMap<string, string>> => {
        const found = await connections.topics(names)
        if (names.some((topic) => (found.get(topic)?.partitions[PARTITION]?.leader ?? -1) < 0)) {
          throw new Error('a topic has no leader yet')
        }
        return new Map(names.map((topic) => [topic, found.get(topic)?.id ?? '']))
      }
      await eventually(ids, { deadlineMs: READY_MS })
      return { events, features, predictions, deadLetters, ids }
    },
    claims(options = {}) {
      const claims = createLaneClaims({
        connections,
        logReader,
        clock: systemClock,
        logger: silentLogger,
        stage: 'processors',
        readTail: { outputCoordinates: readCoordinates, deadLetterCoordinates },
        repairCommand: ({ input, partition }) => `repair ${input.topic} ${partition}`,
        trusted: () => true,
        ...options,
      })
      opened.push(claims)
      return claims
    },
    outputs: (topic) => read(topic, readCoordinates),
    deadLetters: (topic) => read(topic, deadLetterCoordinates),
    async stop() {
      await Promise.all(opened.map((claims) => claims.close()))
      await admin.stop()
      await connections.close()
    },
  }
}

export async function laneOf(pipeline: Pipeline, input: string, output: string | null): Promise<LaneTopics> {
  const generation = (await pipeline.ids()).get(input) ?? ''
  return { partition: PARTITION, input: { topic: input, generation }, output, deadLetters: pipeline.deadLetters }
}

/** A claim of somebody who owns the lane. */
export async function claimLane(claims: LaneClaims, lane: LaneTopics, offset = 0, metadata = ''): Promise<LaneWriter> {
  return await claims.claim(lane, { offset, metadata }, async () => true, new AbortController().signal)
}

/** Outputs of these input offsets, each one event with the same offset as its origin unless told otherwise. */
export function outputRecords(
  sourceGeneration: string,
  offsets: readonly number[],
  origin: { readonly generation: string; readonly of: (source: number) => number } = {
    generation: sourceGeneration,
    of: (source) => source,
  },
): RecordColumns {
  return outgoingColumns(
    offsets.map((source) => ({
      key: null,
      value: vector(sourceGeneration, source, origin.generation, origin.of(source)),
    })),
    Date.now(),
  )
}

function vector(sourceGeneration: string, source: number, originGeneration: string, origin: number): Buffer {
  const record: FeatureVector = {
    event_id: `event-${origin}`,
    tenant: 'tenant',
    segment: '',
    event_time: 1_700_000_000_000,
    ingested_at: 1_700_000_000_000,
    event_schema_id: 7,
    origin_generation: originGeneration,
    origin_offset: origin,
    source_generation: sourceGeneration,
    source_offset: source,
    feature_set: 'none',
    features: [source],
    degraded: false,
    traceparent: null,
  }
  return VECTOR.encode(1, record)
}

export function deadLetterRecords(
  letters: readonly (Partial<DeadLetter> & Pick<DeadLetter, 'topic' | 'source_generation' | 'source_offset'>)[],
): RecordColumns {
  const value = (letter: (typeof letters)[number]): Buffer =>
    LETTER.encode(2, {
      stage: 'processors',
      pipeline: 'p',
      reason: 'bad',
      kind: 'rejected',
      message: '',
      tenant: '',
      event_id: null,
      partition: PARTITION,
      origin_generation: letter.source_generation,
      origin_offset: letter.source_offset,
      schema_id: null,
      key: null,
      value: Buffer.alloc(0),
      headers: {},
      attempts: 1,
      failed_at: 0,
      replay_of: null,
      ...letter,
    })
  return outgoingColumns(
    letters.map((letter) => ({ key: null, value: value(letter) })),
    Date.now(),
  )
}

export function deadLetterCoordinates(value: Buffer): DeadLetterCoordinates | null {
  let letter: DeadLetter
  try {
    letter = readLetter(value) as DeadLetter
  } catch {
    return null
  }
  return {
    topic: letter.topic,
    stage: letter.stage,
    sourceGeneration: letter.source_generation,
    sourceOffset: letter.source_offset,
    originGeneration: letter.origin_generation,
    originOffset: letter.origin_offset,
    endsEvent: letter.kind === 'rejected' || letter.kind === 'filtered',
  }
}
