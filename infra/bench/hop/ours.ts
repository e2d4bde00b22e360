/** One side of `npm run bench:hop`: the fused hop as inference/fused-main.ts runs it, without its reports and metrics. */
import { join } from 'node:path'
import { REPLAY_OF_HEADER } from '../../../schemas/headers.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { valueSubject } from '../../../schemas/topics.ts'
import { parseAvroSchema } from '../../runtime/avro/avro-type.ts'
import { createSchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { systemClock } from '../../runtime/clock.ts'
import { fatal } from '../../runtime/errors.ts'
import { collectSeldom } from '../../runtime/heap.ts'
import { createKafkaConnections } from '../../runtime/kafka/connections/kafka-connections.ts'
import { startLaneSource } from '../../runtime/kafka/consumer/start-lane-source.ts'
import { readCoordinates } from '../../runtime/kafka/exactly-once/coordinates.ts'
import { readDeadLetterCoordinates } from '../../runtime/kafka/exactly-once/dead-letter-coordinates.ts'
import { createLaneClaims } from '../../runtime/kafka/exactly-once/lane-claims.ts'
import { type LaneHop, startLaneHop } from '../../runtime/kafka/hop/lane-hop.ts'
import { createLogReader } from '../../runtime/kafka/log-reader.ts'
import { readContract } from '../../runtime/stage-contracts.ts'
import { createLogger } from '../../runtime/telemetry/logger.ts'
import { fusedHandler } from '../fused-handler.ts'
import { readSettings, report, startFigures } from './child.ts'

/** The defaults of processors. */
const LIMITS = { maxRows: 2_048, maxBytes: 8_388_608, lingerMs: 2 }
/** Inference itself chooses by what runs cost. */
const MAX_ROWS_PER_RUN = 1_024
const MAX_LANE_BYTES = 8_388_608
const STAGE = 'fused'

const settings = readSettings()
const { topics, group, model } = settings
const clock = systemClock
const logger = createLogger('warn', { stage: STAGE })
const loaded = await loadPipeline(join(import.meta.dirname, '../flights'))
const pipeline = model === null ? loaded : { ...loaded, model: { ...loaded.model, directory: model.directory } }
const registry = createSchemaRegistry({ url: settings.registryUrl })
const connections = createKafkaConnections({
  config: { brokers: settings.brokers },
  clientId: 'bench-ours',
  logger,
  clock,
})
const schemaId = await registry.register(valueSubject(topics.output), await readContract('prediction'))
const letterSchema = await readContract('dead-letter')
const input = (await connections.topics([topics.events])).get(topics.events)
if (input === undefined) throw fatal('unknown_topic', `topic ${topics.events} does not exist`)
const handler = await fusedHandler({ pipeline, registry, schemaId, maxRows: MAX_ROWS_PER_RUN, model: model !== null })

const finished = Promise.withResolvers<void>()
const failed = Promise.withResolvers<never>()
const started: { hop?: LaneHop } = {}
let events = 0
const figures = startFigures()
const hop = await startLaneHop({
  startSource: (hooks) =>
    startLaneSource({
      connections,
      clock,
      logger,
      group,
      topic: topics.events,
      start: 'earliest',
      hooks,
      maxLaneBytes: MAX_LANE_BYTES,
      commitIntervalMs: 1_000,
    }),
  claims: createLaneClaims({
    connections,
    logReader: createLogReader({ connections, clock }),
    clock,
    logger,
    stage: STAGE,
    compression: settings.compression,
    readTail: { outputCoordinates: readCoordinates, deadLetterCoordinates: readDeadLetterCoordinates },
    repairCommand: () => 'none: this is a bench',
    trusted: () => started.hop?.source.trusted() ?? true,
  }),
  handler,
  input: { topic: topics.events, generation: input.id },
  output: { name: 'predictions', topic: topics.output },
  deadLetters: {
    stage: STAGE,
    pipeline: pipeline.name,
    type: parseAvroSchema(letterSchema, 'dead letter'),
    schemaId: await registry.register(valueSubject(topics.deadLetters), letterSchema),
    replayOfHeader: REPLAY_OF_HEADER,
    clock,
    topic: topics.deadLetters,
  },
  originOf: (batch, index) => ({ generation: input.id, offset: batch.offset(index) }),
  limits: LIMITS,
  retry: { baseMs: 100, maxMs: 5_000 },
  clock,
  observer: {
    settled(round) {
      if (round.rejectedByReason.size > 0) failed.reject(new Error('events were rejected'))
      events += round.recordsIn
      if (events >= settings.events) finished.resolve()
    },
    retrying: (round) => logger.warn(round, 'retrying'),
    deferred: (lane) => failed.reject(new Error(lane.message)),
    stopped: (lane) => failed.reject(new Error(lane.message)),
    passedOver: (lane) => failed.reject(new Error(lane.message)),
    began() {},
  },
})
started.hop = hop.value
collectSeldom()
await Promise.race([finished.promise, failed.promise, hop.value.ended])
report(figures(events))
await hop.stop()
await connections.close()
