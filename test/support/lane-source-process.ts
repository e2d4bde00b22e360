import { systemClock } from '../../infra/runtime/clock.ts'
import { createKafkaConnections } from '../../infra/runtime/kafka/connections/kafka-connections.ts'
import { startLaneSource } from '../../infra/runtime/kafka/consumer/start-lane-source.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'

/*
 * A member of a group in a process of its own: node lane-source-process.ts <brokers> <group> <topic>. Prints a line for each thing that
 * happens: `batch <partition> <first offset> <ns of the system's monotonic clock>` when it is worked on, `stalled`, `lost`.
 */

const [brokers = '', group = '', topic = ''] = process.argv.slice(2)
const say = (...words: readonly (string | number | bigint)[]): void => void process.stdout.write(`${words.join(' ')}\n`)

const connections = createKafkaConnections({
  config: { brokers: brokers.split(',') },
  clientId: 'child',
  logger: silentLogger,
  clock: systemClock,
})
const { value: source, stop } = await startLaneSource({
  connections,
  clock: systemClock,
  logger: silentLogger,
  group,
  topic,
  start: 'earliest',
  maxLaneBytes: 1_048_576,
  commitIntervalMs: 100,
  sessionTimeoutMs: 2_000,
  hooks: { open: async (_, { offset }) => offset },
  observer: { stalled: () => say('stalled'), lost: () => say('lost') },
})
process.once('SIGTERM', () => source.endIntake())
for (;;) {
  const batches = await source.take({ maxRows: 10, maxBytes: 1_000_000, lingerMs: 0 })
  if (batches.length === 0) break
  // as a stage does before it writes
  for (const batch of batches) {
    const at = process.hrtime.bigint()
    if (source.trusted() && source.owns(batch)) say('batch', batch.partition, batch.offset(0), at)
  }
  await systemClock.sleep(1)
  for (const batch of batches) source.settle(batch)
}
await stop()
await connections.close()
