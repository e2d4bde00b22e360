import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { setUpComponents } from '../../local/set-up.ts'
import { readStackSettings, type StackSettings } from '../../local/settings.ts'
import { ALLOW_SINGLE_REPLICA, requireFreeStackPorts, type Stack, startStack } from '../../local/stack.ts'
import { type ClickHouseClient, createClickHouse } from '../../runtime/clickhouse/clickhouse-client.ts'
import { systemClock } from '../../runtime/clock.ts'
import { clickHouseConfig } from '../../runtime/config.ts'
import { describeError, fateOf } from '../../runtime/errors.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { createScope } from '../../runtime/lifecycle/scope.ts'
import { silentLogger } from '../../runtime/telemetry/logger.ts'
import { parseReplayLine, type ReplayDone } from '../../sample/replay/progress.ts'
import { commandConnections } from '../connections.ts'
import { patiently } from '../patiently.ts'
import { account, type RunMarks } from './accounting.ts'
import { developmentKey, type GatewayPlace, gatewayPlace, howToAsk } from './gateway.ts'
import { howToQuery } from './how-to-query.ts'
import { bundledReference } from './reference.ts'
import { markRun } from './run-marks.ts'
import { settleRun } from './settle-run.ts'
import { createSnapshots, type Snapshot } from './snapshot.ts'
import { createProcesses, deployPipeline } from './start-pipeline.ts'
import { summarise, unseenFrom } from './summarise.ts'
import { problemOf, summaryLines } from './summary.ts'
import { createView, type View } from './view.ts'

export interface UpOptions {
  readonly folder: string
  readonly limit?: number
  readonly from?: string
  readonly rate?: string
  readonly exit: boolean
  readonly fresh: boolean
  readonly partitions: number
  readonly fused: boolean
  readonly allowSingleReplica: boolean
}

/** Slow enough to watch. */
const WATCHED_RATE = '2000'
const QUERY_TIMEOUT_MS = 60_000
const FRAME_MS = 1_000
/** A broker that has just started answers some questions only at the second or third time. */
const FAILURES_SHOWN = 4

/** Resolves with the exit status. Everything that was started has ended by then, whatever went wrong. */
export async function runUp(options: UpOptions): Promise<number> {
  const view = createView(process.stdout)
  const stopping = new AbortController()
  const stop = (): void => stopping.abort()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)

  const patience = { say: (line: string) => view.say(line), signal: stopping.signal }
  const scope = createScope(silentLogger)
  try {
    const pipeline = await loadPipeline(options.folder)
    const settings = readStackSettings(process.env)
    // data under a stack that runs would be gone, and the stack with it
    await requireFreeStackPorts(settings)
    const gateway = await gatewayPlace(process.env)
    if (options.fresh) wipe(settings, view)
    await setUpComponents(settings)
    view.say(`Starting ${pipeline.name} from ${options.folder}`)
    const stack = await scope.start('stack', () => startStack(settings, { onProgress: (line) => view.say(line) }))

    const connections = commandConnections({ ...process.env, ...stack.env })
    const admin = await scope.start('admin', () =>
      patiently('connecting to Kafka', () => startKafkaAdmin(connections.kafka), patience),
    )
    const deployment = {
      partitions: options.partitions,
      allowSingleReplica: options.allowSingleReplica || settings.external.kafka === undefined,
      onProgress: (line: string) => view.say(line),
    }
    const deploy = (): Promise<void> => deployPipeline(pipeline, connections, admin, deployment)
    await patiently(`deploying ${pipeline.name}`, deploy, patience)
    const clickhouse = await scope.start('ClickHouse', async () => {
      const client = createClickHouse(clickHouseConfig(connections.settings, QUERY_TIMEOUT_MS))
      return { value: client, stop: () => client.close() }
    })
    const mark = (): Promise<RunMarks> => markRun(pipeline, connections.kafka, admin)
    const marks = await patiently('noting where the topics end', mark, patience)
    const env = { ...process.env, ...stack.env }
    const makeKey = (): Promise<string> => developmentKey(pipeline, env)
    // who may use somebody else's brokers is not for us to say
    const key = settings.external.kafka === undefined ? await patiently('making a key', makeKey, patience) : null
    const reference = await patiently('accepting the reference', () => bundledReference(pipeline, env), patience)
    if (reference !== null) view.say(reference)
    const signal = stopping.signal
    const run: Run = { options, pipeline, stack, settings, gateway, admin, clickhouse, marks, view, signal }
    for (const line of howToQuery(pipeline, stack.env)) view.say(line)
    for (const line of howToAsk(pipeline, gateway, key)) view.say(line)
    return await watchRun(run)
  } finally {
    view.end()
    if (stopping.signal.aborted) process.stdout.write('Stopping\n')
    await scope.close()
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}

interface Run {
  readonly options: UpOptions
  readonly pipeline: CompiledPipeline
  readonly stack: Stack
  readonly settings: StackSettings
  readonly gateway: GatewayPlace
  readonly admin: KafkaAdmin
  readonly clickhouse: ClickHouseClient
  readonly marks: RunMarks
  readonly view: View
  readonly signal: AbortSignal
}

function wipe(settings: StackSettings, view: View): void {
  if (!existsSync(settings.dataDir)) return
  view.say(`Deleting all data of earlier runs: ${settings.dataDir}`)
  rmSync(settings.dataDir, { recursive: true, force: true })
}

/** Starts stages and replay, shows how they do, and with `--exit` waits until all is accounted for. */
async function watchRun(run: Run): Promise<number> {
  const { options, pipeline, stack, settings, gateway, view, signal } = run
  const { supervisor } = stack
  const env = { ...stack.env, ...gateway.env, ...(options.allowSingleReplica ? ALLOW_SINGLE_REPLICA : {}) }
  const processes = createProcesses(pipeline, { supervisor, env }, settings)
  processes.startStages({ fused: options.fused })
  let status = ''
  let done: ReplayDone | null = null
  const hasData = existsSync(path.join(pipeline.folder, 'data', 'events.avro'))
  const replay = hasData
    ? processes.startReplay({
        ...options,
        rate: options.rate ?? (options.exit ? 'max' : WATCHED_RATE),
        onLine: (line) => {
          const parsed = parseReplayLine(line)
          if (parsed === null) return
          if ('done' in parsed) done = parsed
          status = 'done' in parsed ? `replay done: ${parsed.events} events` : replayText(parsed.eventTime)
        },
      })
    : null
  if (replay === null) view.say('The pipeline folder has no data/events.avro to replay: waiting for events')

  const ending = new AbortController()
  const frames = showFrames(run, () => status, AbortSignal.any([signal, ending.signal]))
  try {
    const code = replay === null ? null : await Promise.race([replay.exited, aborted(signal)])
    if (code !== null && code !== 0) {
      view.say(`replay failed: ${replay?.lastError ?? ''} (log: ${replay?.logFile})`)
      return 1
    }
    if (!options.exit) {
      await aborted(signal)
      return 0
    }
    return await settleAndSummarise(run, done)
  } finally {
    ending.abort()
    await frames
  }
}

async function settleAndSummarise(run: Run, replay: ReplayDone | null): Promise<number> {
  const { pipeline, admin, clickhouse, marks, view, signal } = run
  const { sleep } = systemClock
  const settled = await settleRun(() => account(pipeline, admin, clickhouse, marks), { signal, sleep })
  const summary = await summarise(pipeline, clickhouse, { account: settled, marks, replay })
  view.end()
  for (const line of summaryLines(summary)) view.say(line)
  if (signal.aborted) return 1
  const problem = problemOf(summary)
  view.say(problem === null ? 'Every record is accounted for.' : `NOT accounted for: ${problem}`)
  return problem === null ? 0 : 1
}

async function showFrames(run: Run, replay: () => string, signal: AbortSignal): Promise<void> {
  const { pipeline, stack, admin, clickhouse, view } = run
  const snapshots = createSnapshots(pipeline, admin, clickhouse)
  const unseen = unseenFrom(pipeline)
  let previous: Snapshot | null = null
  let failures = 0
  while (!signal.aborted) {
    try {
      const snapshot = await snapshots.take()
      view.show({
        snapshot,
        previous,
        processes: stack.supervisor.processes,
        replay: replay(),
        unseenFrom: unseen,
      })
      previous = snapshot
      failures = 0
    } catch (error) {
      // a component that is down is what the view is for: it says so once it lasts, and looks again
      if (fateOf(error) !== 'retry') throw error
      failures += 1
      if (failures === FAILURES_SHOWN) view.say(`cannot look: ${describeError(error).message}`)
    }
    await systemClock.sleep(FRAME_MS, signal)
  }
}

function replayText(eventTime: number | null): string {
  return eventTime === null ? 'replay: loading tables' : `replay: ${new Date(eventTime).toISOString().slice(0, 16)}`
}

function aborted(signal: AbortSignal): Promise<null> {
  if (signal.aborted) return Promise.resolve(null)
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(null), { once: true }))
}
