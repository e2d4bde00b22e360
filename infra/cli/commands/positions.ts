import { type Command, InvalidArgumentError } from 'commander'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import {
  ALERTS_TOPIC,
  CONTROL_TOPIC,
  consumerGroup,
  GATEWAY_REQUESTS_TOPIC,
  STAGE_METRICS_TOPIC,
  sharedGroup,
  stageTopic,
  tableTopic,
} from '../../../schemas/topics.ts'
import { systemClock } from '../../runtime/clock.ts'
import { fatal } from '../../runtime/errors.ts'
import { type GroupPosition, groupPositions } from '../../runtime/kafka/consumer/group-positions.ts'
import { type Start, startPosition } from '../../runtime/kafka/consumer/start-position.ts'
import { commandConnections, logConnections } from '../connections.ts'
import { patiently } from '../patiently.ts'

const PATIENCE_MS = 20_000
const ACTIONS = ['show', 'set', 'pause', 'resume'] as const
type Action = (typeof ACTIONS)[number]

interface Options {
  readonly stage?: string
  readonly group?: string
  readonly partition?: number
  readonly to?: To
  readonly ops?: string
}

type To = { readonly offset: number } | { readonly start: Start }

/** A group of the pipeline, and the topic that it reads. */
interface Reader {
  readonly stage: string
  readonly group: string
  readonly topic: string
}

export function register(program: Command): void {
  program
    .command('positions')
    .description('show and move where the stages of a pipeline read; pause and resume a partition')
    .argument('<folder>', 'pipeline folder')
    .argument('[action]', ACTIONS.join(', '), action, 'show')
    .option('--stage <name>', 'processors, inference, sinks.predictions, sinks.labels, …')
    .option('--group <name>', 'the same by its consumer group')
    .option('--partition <n>', 'for all but show', wholeNumber)
    .option('--to <position>', 'for set: an offset, earliest, latest, or a time (ISO 8601)', position)
    .option('--ops <url>', 'for pause and resume: the ops port of the process that has the partition')
    .addHelpText(
      'after',
      `
set moves the position of a stage that is stopped. A stage that writes to Kafka never writes a second
output for a record: moved back, it skips what has ended. Moved forward, it leaves records out; the audit shows them.

pause and resume work on a running process, for as long as it lives.`,
    )
    .action(async (folder: string, chosen: Action, options: Options) => {
      const pipeline = await loadPipeline(folder)
      const readers = readersOf(pipeline).filter(
        ({ stage, group }) => (options.stage ?? stage) === stage && (options.group ?? group) === group,
      )
      const [reader] = readers
      if (reader === undefined) {
        const known = readersOf(pipeline).map(({ stage }) => stage)
        throw fatal('unknown_stage', `pipeline ${pipeline.name} has no such stage; it has ${known.join(', ')}`)
      }
      if (chosen === 'show') return await show(readers)
      if (readers.length > 1) throw fatal('invalid_option', `${chosen} needs --stage or --group`)
      if (options.partition === undefined) throw fatal('invalid_option', `${chosen} needs --partition`)
      if (chosen === 'set') await set(reader, options.partition, options.to)
      else await ask(chosen, reader, options.partition, options.ops)
    })
}

function readersOf(pipeline: CompiledPipeline): readonly Reader[] {
  const { name, event, label, tables } = pipeline
  const topics: [stage: string, topic: string][] = [
    ['processors', event.topic],
    ['inference', stageTopic(name, 'features')],
    ['sinks.predictions', stageTopic(name, 'predictions')],
    ['sinks.shadow', stageTopic(name, 'shadow')],
    ...(label === null ? [] : [['sinks.labels', label.topic] satisfies [string, string]]),
    ['sinks.dead-letters', stageTopic(name, 'dead-letters')],
    ['sinks.stage-metrics', STAGE_METRICS_TOPIC],
    ['sinks.gateway-requests', GATEWAY_REQUESTS_TOPIC],
    ['sinks.alerts', ALERTS_TOPIC],
    ['sinks.webhook', ALERTS_TOPIC],
    ['sinks.results.predictions', stageTopic(name, 'predictions')],
    ['sinks.results.dead-letters', stageTopic(name, 'dead-letters')],
    ...tables.map((table): [string, string] => [`sinks.${table.name}`, tableTopic(name, table.name)]),
  ]
  const { clickhouseDatabase } = commandConnections(process.env).settings
  return [
    ...topics.map(([stage, topic]) => ({ stage, topic, group: consumerGroup(name, stage) })),
    { stage: 'sinks.control', topic: CONTROL_TOPIC, group: sharedGroup('sinks.control', clickhouseDatabase) },
  ]
}

async function show(readers: readonly Reader[]): Promise<void> {
  await withLogs(async (logs) => {
    for (const { stage, group, topic } of readers) {
      const { connections } = logs
      const isThere = (await patience(topic, () => connections.topics([topic]))).has(topic)
      console.log(`${stage}  group ${group}  topic ${topic}${isThere ? '' : ' is not there'}`)
      if (!isThere) continue
      const positions = await patience(`the positions of ${stage}`, () => groupPositions(logs, group, topic).show())
      for (const one of positions) console.log(line(one))
    }
  })
}

function line({ partition, committed, log: { start, end } }: GroupPosition): string {
  const range = `log ${start} to ${end}`
  if (committed === null) return `  ${partition}  no position  ${range}`
  const { offset } = committed
  const note = offset < start ? '  BELOW THE LOG' : offset > end ? '  ABOVE THE LOG' : ''
  return `  ${partition}  at ${offset}  ${range}  lag ${Math.max(0, end - offset)}${note}`
}

async function set({ group, topic }: Reader, partition: number, to: To | undefined): Promise<void> {
  if (to === undefined) throw fatal('invalid_option', 'set needs --to')
  await withLogs(async (logs) => {
    const offset = await patience(`a position in ${topic}/${partition}`, () => resolve(logs, topic, partition, to))
    await patience(`moving group ${group}`, () => groupPositions(logs, group, topic).set(partition, offset))
    console.log(`group ${group} goes on at ${topic}/${partition} offset ${offset}`)
  })
}

async function resolve(logs: Logs, topic: string, partition: number, to: To): Promise<number> {
  if ('offset' in to) return to.offset
  const signal = AbortSignal.timeout(PATIENCE_MS)
  return await startPosition({ ...logs, clock: systemClock }, topic, partition, to.start, signal)
}

async function ask(
  chosen: 'pause' | 'resume',
  { topic }: Reader,
  partition: number,
  ops: string | undefined,
): Promise<void> {
  if (ops === undefined) throw fatal('invalid_option', `${chosen} needs --ops, e.g. http://127.0.0.1:9464`)
  const url = new URL(`/partitions/${topic}/${partition}/${chosen}`, ops)
  const response = await fetch(url, { method: 'POST' })
  const text = (await response.text()).trim()
  if (!response.ok) throw fatal('refused', `${url}: ${response.status} ${text}`)
  console.log(text)
}

type Logs = ReturnType<typeof logConnections>

async function withLogs(work: (logs: Logs) => Promise<void>): Promise<void> {
  const logs = logConnections(commandConnections(process.env).settings)
  try {
    await work(logs)
  } finally {
    await logs.connections.close()
  }
}

function patience<T>(what: string, work: () => Promise<T>): Promise<T> {
  return patiently(what, work, { say: console.error, signal: AbortSignal.timeout(PATIENCE_MS) })
}

function action(text: string): Action {
  const found = ACTIONS.find((one) => one === text)
  if (found === undefined) throw new InvalidArgumentError(`must be one of ${ACTIONS.join(', ')}.`)
  return found
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('must be a whole number from 0.')
  return Number(text)
}

function position(text: string): To {
  if (text === 'earliest' || text === 'latest') return { start: text }
  if (/^\d{1,15}$/.test(text)) return { offset: Number(text) }
  const at = Date.parse(text)
  if (Number.isNaN(at)) throw new InvalidArgumentError('must be an offset, earliest, latest or a time (ISO 8601).')
  return { start: at }
}
