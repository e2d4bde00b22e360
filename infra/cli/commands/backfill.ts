import { type Command, InvalidArgumentError, Option } from 'commander'
import type { FeatureVector } from '../../../schemas/generated/records.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { consumerGroup, stageTopic } from '../../../schemas/topics.ts'
import type { SchemaRegistry } from '../../runtime/avro/schema-registry.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { groupPositions } from '../../runtime/kafka/consumer/group-positions.ts'
import type { RecordBatch } from '../../runtime/kafka/record-batch.ts'
import type { Started } from '../../runtime/lifecycle/scope.ts'
import { commandConnections, logConnections } from '../connections.ts'
import { withControlLog } from '../control-log.ts'
import { patiently } from '../patiently.ts'
import { loadStageModule } from '../stage-module.ts'
import { time } from './audit.ts'
import { positive } from './topics.ts'

/** As inference/commands/backfill.ts and backfill-report.ts export them. */
interface BackfillModule {
  backfill(
    options: {
      readonly folder: string
      readonly version: string
      readonly from: number
      readonly to: number
      readonly run: string | null
      readonly rate: number | null
    },
    deps: {
      readonly control: ControlLog
      readonly env: NodeJS.ProcessEnv
      readonly events: (Logs & { readonly vectorsOf: VectorsOf }) | null
      readonly mayGoOn: (pipeline: CompiledPipeline) => Promise<void>
      readonly patiently: <T>(what: string, work: () => Promise<T>) => Promise<T>
      readonly say: (line: string) => void
    },
  ): Promise<{
    readonly pipeline: string
    readonly run: string
    readonly rows: number
    readonly problems: number
    readonly refused: number
    readonly others: number
  }>
}
/** As processors/commands/event-vectors.ts exports it. */
interface EventVectorsModule {
  startEventVectors(folder: string, registry: SchemaRegistry, env: NodeJS.ProcessEnv): Promise<Started<VectorsOf>>
}
type VectorsOf = (
  batch: RecordBatch,
) => Promise<{ readonly vectors: readonly FeatureVector[]; readonly refused: number }>
type Logs = ReturnType<typeof logConnections>
interface ReportModule {
  reportBackfill(name: string, pipeline: string | null, env: NodeJS.ProcessEnv): Promise<Report>
}
interface Report {
  readonly run: {
    readonly pipeline: string
    readonly run: string
    readonly source: string
    readonly model: string
    readonly version: string
    readonly from: number
    readonly to: number
    readonly threshold: number
  }
  readonly difference: {
    readonly rows: number
    readonly problems: number
    readonly compared: number
    readonly served: readonly { readonly version: string; readonly rows: number }[]
    readonly meanServed: number
    readonly meanBackfill: number
    readonly mean: number
    readonly meanAbsolute: number
    readonly quantiles: readonly { readonly at: number; readonly value: number }[]
    readonly shareLarge: number
    readonly flipsUp: number
    readonly flipsDown: number
    readonly quality: {
      readonly metric: string
      readonly labels: number
      readonly served: number | null
      readonly backfill: number | null
    } | null
  }
}

interface Flags {
  readonly model: string
  readonly from: number
  readonly to: number
  readonly source: 'stored' | 'events'
  readonly run?: string
  readonly rate?: number
  readonly maxLag: number
}

/** Readers that must not fall behind for a backfill's sake, and what they read. */
const LIVE = ['processors', 'inference', 'sinks.predictions'] as const
const MAX_LAG = 10_000
const LAG_POLL_MS = 1_000
const SAY_EVERY_MS = 30_000
/** Kafka or ClickHouse may be away for so long. */
const PATIENCE_MS = 600_000

const MEANING = `
It scores events from --from until before --to, in event time, into the table backfill_predictions: nothing that was served
changes, and no topic is written to. The source says where their features come from:
  stored  those that are stored with predictions, as they were served
  events  the records that the events topic still has, through the pipeline's own features. Lookups read Redis as it is NOW,
          not as it was: a row that is gone or newer than the event allows counts as missing, and the score as degraded

Before each batch it waits while one of the pipeline's groups (${LIVE.join(', ')}) lags by more than --max-lag records.

The same command again goes on with a run that was interrupted, and scores what has come since with one that was not.
A run's rows stay until somebody says otherwise: millrace migrate <folder> --keep backfill_predictions=90d lets them go so long after they
were scored. A run that began earlier than that is neither gone on with nor compared: give a new one a name with --run.
Of stored predictions those of another feature set than the version's are left out, and counted.`

export function register(program: Command): void {
  const command = program
    .command('backfill')
    .description('score history through a chosen version, beside what was served, and compare the two')

  command
    .command('run', { isDefault: true })
    .description('begin a run, or go on with it: millrace backfill <folder> …')
    .argument('<folder>', 'pipeline folder')
    .requiredOption('--model <version>', '<model>/<version>: registered, or in the pipeline folder')
    .requiredOption('--from <time>', 'events from then on (ISO 8601)', time)
    .requiredOption('--to <time>', 'events before (ISO 8601)', time)
    .addOption(new Option('--source <source>', 'whose features').choices(['stored', 'events']).default('stored'))
    .option('--run <name>', 'name of the run (default: by pipeline, version and times)', runName)
    .option('--rate <n>', 'rows a second at most', positive)
    .option('--max-lag <n>', 'records that a live group may lag behind', positive, MAX_LAG)
    .addHelpText('after', MEANING)
    .action(async (folder: string, flags: Flags) => {
      const { backfill } = await loadStageModule<BackfillModule>('inference/commands/backfill')
      const { model: version, from, to, source, run = null, rate = null, maxLag } = flags
      const options = { folder, version, from, to, run, rate }
      const done = await withControlLog((control) =>
        withLogs(async (logs) => {
          const events = source === 'events' ? await startEvents(folder) : null
          try {
            const from = events === null ? null : { ...logs, vectorsOf: events.value }
            const deps = { control, env: process.env, events: from, mayGoOn: lagBelow(maxLag, logs) }
            return await backfill(options, { ...deps, patiently: wait, say })
          } finally {
            await events?.stop()
          }
        }),
      )
      const { rows, problems, refused, others } = done
      console.log(`scored      ${rows} rows now${problems === 0 ? '' : `, ${problems} of them without an answer`}`)
      if (refused > 0) console.log(`refused     ${refused} events of which the pipeline computes no features`)
      if (others > 0) console.log(`left out    ${others} predictions of another feature set`)
      await report(done.run, done.pipeline)
    })

  command
    .command('report')
    .description('compare a run with what was served')
    .argument('<run>', 'its name')
    .option('--pipeline <name>', 'where several pipelines have a run of the name')
    .option('--json', 'print one JSON object', false)
    .action((run: string, { pipeline, json }: { readonly pipeline?: string; readonly json: boolean }) =>
      report(run, pipeline ?? null, json),
    )
}

async function startEvents(folder: string): Promise<Started<VectorsOf>> {
  const { startEventVectors } = await loadStageModule<EventVectorsModule>('processors/commands/event-vectors')
  return await startEventVectors(folder, commandConnections(process.env).registry, process.env)
}

async function withLogs<T>(work: (logs: Logs) => Promise<T>): Promise<T> {
  const logs = logConnections(commandConnections(process.env).settings)
  try {
    return await work(logs)
  } finally {
    await logs.connections.close()
  }
}

/** Gives what resolves when no live group of the pipeline lags by more than `maxLag`. */
function lagBelow(maxLag: number, logs: Logs): (pipeline: CompiledPipeline) => Promise<void> {
  let saidAt = Number.NEGATIVE_INFINITY
  return async (pipeline) => {
    for (;;) {
      const { stage, lag } = await wait('the lag of the pipeline', () => largestLag(logs, pipeline))
      if (lag <= maxLag) return
      if (systemClock.monotonic() - saidAt > SAY_EVERY_MS) {
        saidAt = systemClock.monotonic()
        say(`waits: ${stage} lags ${lag} records behind, more than ${maxLag}`)
      }
      await systemClock.sleep(LAG_POLL_MS)
    }
  }
}

/** Of the groups that have begun to read; a stage that another does the work of (fused) never has. */
async function largestLag(
  logs: Logs,
  { name, event }: CompiledPipeline,
): Promise<{ readonly stage: string; readonly lag: number }> {
  const topics = { processors: event.topic, inference: stageTopic(name, 'features') }
  const there = await logs.connections.topics([...Object.values(topics), stageTopic(name, 'predictions')])
  let largest: { readonly stage: string; readonly lag: number } = { stage: '', lag: 0 }
  for (const stage of LIVE) {
    const topic = stage === 'sinks.predictions' ? stageTopic(name, 'predictions') : topics[stage]
    if (!there.has(topic)) continue
    const positions = await groupPositions(logs, consumerGroup(name, stage), topic).show()
    const lag = positions.reduce(
      (sum, { committed, log }) => sum + (committed === null ? 0 : Math.max(0, log.end - committed.offset)),
      0,
    )
    if (lag > largest.lag) largest = { stage, lag }
  }
  return largest
}

async function report(name: string, pipeline: string | null, json = false): Promise<void> {
  const { reportBackfill } = await loadStageModule<ReportModule>('inference/commands/backfill-report')
  const found = await reportBackfill(name, pipeline, process.env)
  if (json) console.log(JSON.stringify(found))
  else for (const line of linesOf(found)) console.log(line)
}

function linesOf({ run, difference }: Report): readonly string[] {
  const { rows, problems, compared, served, quantiles, quality, flipsUp, flipsDown } = difference
  const [from, to] = [run.from, run.to].map((at) => new Date(at).toISOString())
  const lines = [
    `run         ${run.run} of ${run.pipeline}`,
    `scored by   ${run.model}/${run.version}, ${run.source === 'stored' ? 'stored features' : 'features of now'}, events from ${from} to ${to}`,
    `rows        ${rows}${problems === 0 ? '' : `, ${problems} without an answer`}, ${compared} compared with what was served`,
  ]
  if (compared === 0) return lines
  const share = (n: number): string => `${((100 * n) / compared).toFixed(2)} %`
  return [
    ...lines,
    `served by   ${served.map((each) => `${each.version} (${each.rows})`).join(', ')}`,
    `mean score  served ${text(difference.meanServed)}, backfill ${text(difference.meanBackfill)}`,
    `difference  mean ${text(difference.mean)}, mean absolute ${text(difference.meanAbsolute)}, ${share(difference.shareLarge * compared)} above 0.1`,
    `            ${quantiles.map(({ at, value }) => `q${at} ${text(value)}`).join('  ')}`,
    `flips       at ${run.threshold}: ${flipsUp} to positive, ${flipsDown} to negative (${share(flipsUp + flipsDown)})`,
    quality === null
      ? 'quality     no labels are known'
      : `quality     ${quality.metric} served ${text(quality.served)}, backfill ${text(quality.backfill)}, of ${quality.labels} labels`,
  ]
}

function text(value: number | null): string {
  return value === null ? 'undefined' : value.toFixed(4)
}

function say(line: string): void {
  console.error(`${new Date().toISOString()} ${line}`)
}

function wait<T>(what: string, work: () => Promise<T>): Promise<T> {
  return patiently(what, work, { say, signal: AbortSignal.timeout(PATIENCE_MS) })
}

function runName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$/.test(name)) return name
  throw new InvalidArgumentError('must be 1 to 100 letters, digits and . _ : -')
}
