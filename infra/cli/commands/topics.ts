import { type Command, InvalidArgumentError } from 'commander'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { systemClock } from '../../runtime/clock.ts'
import { startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { commandConnections, logConnections } from '../connections.ts'
import { declareTopics } from '../deployment/declare-topics.ts'
import { type GrowOptions, growLanes } from '../lanes/grow-lanes.ts'
import { patiently } from '../patiently.ts'

/** A topic that was just created has no leader for a moment. */
const PATIENCE_MS = 20_000

export function register(program: Command): void {
  const topics = program
    .command('topics')
    .description('declare the topics of a pipeline; safe to repeat')
    .argument('<folder>', 'pipeline folder')
    .option('--partitions <n>', 'lanes, when the events topic does not exist yet', positive, 4)
    .option('--allow-single-replica', 'accept a cluster that loses data with one broker', false)
    .action(async (folder: string, options: { partitions: number; allowSingleReplica: boolean }) => {
      const pipeline = await loadPipeline(folder)
      const admin = await startKafkaAdmin(commandConnections(process.env).kafka)
      try {
        const declared = await patiently('declaring topics', () => declareTopics(admin.value, pipeline, options), {
          say: console.error,
          signal: AbortSignal.timeout(PATIENCE_MS),
        })
        for (const { topic, partitions, state } of declared) {
          console.log(`${state.padEnd(9)}  ${topic} (${partitions} partition${partitions === 1 ? '' : 's'})`)
        }
      } finally {
        await admin.stop()
      }
    })
  topics
    .command('grow')
    .description('give a pipeline more lanes: partitions for its topics, events last; safe to repeat')
    .argument('<folder>', 'pipeline folder')
    .requiredOption('--lanes <n>', 'partitions that the events topic has then', positive)
    .option('--drain', 'keep key order: wait until all that was written has passed (producers stopped)', false)
    .option('--dry-run', 'say what would be done', false)
    .action(async (folder: string, options: GrowOptions) => {
      const pipeline = await loadPipeline(folder)
      const { settings, kafka } = commandConnections(process.env)
      const { connections, reader: logs } = logConnections(settings)
      const admin = await startKafkaAdmin(kafka)
      try {
        await growLanes({ admin: admin.value, logs, clock: systemClock, say: console.log }, pipeline, options)
      } finally {
        await Promise.allSettled([admin.stop(), connections.close()])
      }
    })
}

export function positive(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('must be a whole number above 0.')
  return value
}
