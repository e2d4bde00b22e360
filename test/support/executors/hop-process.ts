import { once } from 'node:events'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseAvroSchema } from '../../../infra/runtime/avro/avro-type.ts'
import { systemClock as clock } from '../../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../../infra/runtime/kafka/connections/kafka-connections.ts'
import { startLaneSource } from '../../../infra/runtime/kafka/consumer/start-lane-source.ts'
import { readCoordinates } from '../../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { readDeadLetterCoordinates } from '../../../infra/runtime/kafka/exactly-once/dead-letter-coordinates.ts'
import { createLaneClaims } from '../../../infra/runtime/kafka/exactly-once/lane-claims.ts'
import { type LaneHop, startLaneHop } from '../../../infra/runtime/kafka/hop/lane-hop.ts'
import { createLogReader } from '../../../infra/runtime/kafka/log-reader.ts'
import { readContract } from '../../../infra/runtime/stage-contracts.ts'
import { createLogger } from '../../../infra/runtime/telemetry/logger.ts'
import { seededRandom } from '../seeded-random.ts'
import type { CreateHandler, HopSettings } from './hop-settings.ts'
import { watchOrder } from './watch-order.ts'

/*
 * One hop in a process of its own: node hop-process.ts <settings as JSON>. Ends in order on SIGTERM. Prints a line for each batch that
 * its handler has finished: `finished <partition> <last offset> <batches that it overtook> <finished batches that wait>`.
 */

const ROOT = path.resolve(import.meta.dirname, '../../..')
const OUTPUT = 'predictions'
const LETTER_SCHEMA_ID = 2

const settings = JSON.parse(process.argv[2] ?? '') as HopSettings
const { brokers, group, input, output, deadLetters, stage, member, sessionTimeoutMs, seed, killWaitingAfter } = settings
const terminated = once(process, 'SIGTERM')
const logger = createLogger('warn', { stage })
const config = { brokers }
const connections = createKafkaConnections({ config, clientId: stage, logger, clock })
const generation = (await connections.topics([input])).get(input)?.id ?? ''
const { createHandler } = (await import(pathToFileURL(path.join(ROOT, settings.handler)).href)) as {
  readonly createHandler: CreateHandler
}
const made = await createHandler({ generation, output: OUTPUT, random: seededRandom(seed), given: settings.given })
let finished = 0
const watch = watchOrder(made.handler, ({ partition, lastOffset, overtook, waiting }) => {
  process.stdout.write(`finished ${partition} ${lastOffset} ${overtook} ${waiting}\n`)
  if (killWaitingAfter !== null && ++finished >= killWaitingAfter && waiting > 0) process.kill(process.pid, 'SIGKILL')
})
const started: { hop?: LaneHop } = {}
const hop = await startLaneHop({
  startSource: (hooks, onRetentionLost) =>
    startLaneSource({
      connections,
      clock,
      logger,
      group,
      topic: input,
      start: 'earliest',
      hooks,
      maxLaneBytes: 262_144,
      commitIntervalMs: 100,
      sessionTimeoutMs,
      ...(member === null ? {} : { instanceId: member }),
      onRetentionLost,
    }),
  claims: createLaneClaims({
    connections,
    logReader: createLogReader({ connections, clock }),
    clock,
    logger,
    stage,
    readTail: { outputCoordinates: readCoordinates, deadLetterCoordinates: readDeadLetterCoordinates },
    repairCommand: ({ partition }) => `repair ${partition}`,
    trusted: () => started.hop?.source.trusted() ?? true,
  }),
  handler: watch.handler,
  input: { topic: input, generation },
  output: { name: OUTPUT, topic: output },
  deadLetters: {
    stage,
    pipeline: '',
    type: parseAvroSchema(await readContract('dead-letter'), 'dead-letter'),
    schemaId: LETTER_SCHEMA_ID,
    replayOfHeader: '',
    clock,
    topic: deadLetters,
  },
  originOf: made.originOf ?? ((batch, index) => ({ generation, offset: batch.offset(index) })),
  limits: { maxRows: 50, maxBytes: 1_000_000, lingerMs: 0 },
  retry: { baseMs: 2, maxMs: 100 },
  clock,
  observer: {
    settled() {},
    retrying: (round) => logger.warn(round, 'retrying'),
    deferred() {},
    stopped: (lane) => logger.error(lane, 'stopped'),
    passedOver: (lane) => logger.error(lane, 'passed over'),
    began: (partition) => watch.forget(partition),
  },
})
started.hop = hop.value
await Promise.race([hop.value.ended, terminated])
await hop.stop()
await made.close?.()
await connections.close()
