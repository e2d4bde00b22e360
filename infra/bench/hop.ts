/**
 * `npm run bench:hop [-- --events 1000000] [--models none,mlp,trees] [--rounds 3] [--compression lz4] [--alone] [--latency [--rate 60000]]`:
 * one broker, one process, Avro events to Avro predictions, acks=all: our fused hop with its exactly-once protocol, next to
 * the straightforward program (hop/straightforward.ts), each in a process of its own, by turns. `--alone`: ours only, as for
 * a long run that shows its memory; `--compression`: of what ours writes (default none, as the other writes); `--latency`:
 * from produce to readable at 70 % of the saturated rate. The last line is one JSON object. Runs on a broker and a registry
 * of its own, on free ports, or on those that KAFKA_BROKERS and SCHEMA_REGISTRY_URL name.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { valueSubject } from '../../schemas/topics.ts'
import { freePorts } from '../local/ports.ts'
import { readStackSettings } from '../local/settings.ts'
import { startStack } from '../local/stack.ts'
import { createSchemaRegistry } from '../runtime/avro/schema-registry.ts'
import { systemClock } from '../runtime/clock.ts'
import { createKafkaConnections } from '../runtime/kafka/connections/kafka-connections.ts'
import { readContract } from '../runtime/stage-contracts.ts'
import { silentLogger } from '../runtime/telemetry/logger.ts'
import type { HopFigures, HopSettings } from './hop/child.ts'
import { fillEvents } from './hop/fill.ts'
import { measureLatency } from './hop/latency.ts'
import { type ModelKind, writeModel } from './hop/models.ts'

const PARTITIONS = 4
/** Begins the names of topics and groups: brokers that are named may have those of an earlier run. */
const RUN = `bench-${Date.now().toString(36)}`
const EVENTS = `${RUN}.events`
/** Of the straightforward program: it needs no more to be steady. */
const STRAIGHTFORWARD_EVENTS = 200_000
const CHILD_OUTPUT_BYTES = 2 ** 24
const LATENCY_LOAD = 0.7

const { values: options } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    models: { type: 'string', default: 'none,mlp,trees' },
    rounds: { type: 'string', default: '3' },
    compression: { type: 'string', default: 'none' },
    alone: { type: 'boolean', default: false },
    latency: { type: 'boolean', default: false },
    rate: { type: 'string' },
  },
})
const events = Number(options.events)
const rounds = Number(options.rounds)
const kinds = options.models.split(',') as ('none' | ModelKind)[]

type Program = 'ours' | 'straightforward'
const home = mkdtempSync(path.join(tmpdir(), 'millrace-bench-'))
const stack = await startBroker()
try {
  const figures = await bench(stack.value.env['KAFKA_BROKERS'] ?? '', stack.value.env['SCHEMA_REGISTRY_URL'] ?? '')
  const { compression } = options
  print(JSON.stringify({ bench: 'hop', node: process.version, events, compression, ...figures }))
} finally {
  await stack.stop()
  rmSync(home, { recursive: true, force: true })
}

async function startBroker() {
  const [kafka = 0, controller = 0, registry = 0] = await freePorts(3)
  const settings = readStackSettings(process.env)
  const named = settings.external
  return await startStack(
    {
      home,
      dataDir: path.join(home, 'data'),
      logDir: path.join(home, 'logs'),
      ports: { ...settings.ports, kafka, 'kafka-controller': controller, registry },
      // nothing of the hop needs them
      external: { ...named, redis: named.redis ?? 'redis://none', clickhouse: named.clickhouse ?? 'http://none' },
    },
    { onProgress: () => {} },
  )
}

async function bench(brokers: string, registryUrl: string): Promise<object> {
  const pipeline = await loadPipeline(path.join(import.meta.dirname, 'flights'))
  const admin = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.ERROR }).admin()
  const registry = createSchemaRegistry({ url: registryUrl })
  const connections = createKafkaConnections({
    config: { brokers: brokers.split(',') },
    clientId: 'bench',
    logger: silentLogger,
    clock: systemClock,
  })
  const compression = options.compression === 'lz4' ? ('lz4' as const) : ('none' as const)
  const base = { brokers: brokers.split(','), registryUrl, compression }
  await admin.connect()
  try {
    await createTopics(admin, [EVENTS])
    const schemaId = await registry.register(valueSubject(EVENTS), pipeline.event.schema)
    const target = { connections, pipeline, schemaId, topic: EVENTS, partitions: PARTITIONS }
    await fillEvents({ ...target, events })
    print(`${events} events in ${PARTITIONS} partitions`)

    const runs = new Map<string, HopFigures[]>()
    for (let round = 1; round <= rounds; round++) {
      for (const kind of kinds) {
        const directory = path.join(home, kind)
        const model = kind === 'none' ? null : { directory, file: await writeModel(pipeline, kind, directory) }
        for (const program of options.alone ? (['ours'] as const) : (['ours', 'straightforward'] as const)) {
          const figures = await runChild(program, `${program}-${kind}-${round}`, { ...base, model })
          const name = `${program} ${kind}`
          runs.set(name, [...(runs.get(name) ?? []), figures])
          print(`${name.padEnd(24)} ${describe(figures)}`)
        }
      }
    }
    const summary = Object.fromEntries([...runs].map(([name, all]) => [name, summarise(all)]))
    printTable(summary)
    if (!options.latency) return { runs: summary, ratios: ratios(summary) }
    const saturated = summary['ours none']?.eventsPerSecond ?? 0
    const latencyTopics = await topicsOf('latency', `${RUN}.latency-events`)
    const latency = await measureLatency({
      ...target,
      topic: latencyTopics.events,
      output: latencyTopics.output,
      rate: options.rate === undefined ? saturated * LATENCY_LOAD : Number(options.rate),
      hop: (signal, total) =>
        startChild(
          'ours',
          { ...base, model: null, group: `${RUN}.latency`, topics: latencyTopics, events: total },
          signal,
        ),
    })
    print(
      `from produce to readable at ${Math.round(latency.rate)} events/s: p50 ${latency.p50Ms} ms, p99 ${latency.p99Ms} ms`,
    )
    return { runs: summary, ratios: ratios(summary), latency }
  } finally {
    await admin.disconnect()
    await connections.close()
  }

  async function topicsOf(name: string, eventsTopic: string): Promise<HopSettings['topics']> {
    const topics = {
      events: eventsTopic,
      output: `${RUN}.${name}.predictions`,
      deadLetters: `${RUN}.${name}.dead-letters`,
    }
    await createTopics(
      admin,
      Object.values(topics).filter((topic) => topic !== EVENTS),
    )
    await registry.register(valueSubject(topics.output), await readContract('prediction'))
    return topics
  }

  async function runChild(
    program: Program,
    name: string,
    more: Pick<HopSettings, 'brokers' | 'registryUrl' | 'compression' | 'model'>,
  ): Promise<HopFigures> {
    const topics = await topicsOf(name, EVENTS)
    const limit = program === 'ours' ? events : Math.min(events, STRAIGHTFORWARD_EVENTS)
    const figures = await startChild(program, { ...more, group: `${RUN}.${name}`, topics, events: limit })
    await admin.deleteTopics({ topics: [topics.output, topics.deadLetters] })
    return figures
  }
}

async function createTopics(admin: ReturnType<Kafka['admin']>, names: readonly string[]): Promise<void> {
  const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
  await admin.createTopics({
    waitForLeaders: true,
    topics: names.map((topic) => ({ topic, numPartitions: PARTITIONS, configEntries })),
  })
}

async function startChild(program: Program, settings: HopSettings, signal?: AbortSignal): Promise<HopFigures> {
  const file = path.join(import.meta.dirname, 'hop', `${program}.ts`)
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=millrace-source', file, JSON.stringify(settings)],
    { maxBuffer: CHILD_OUTPUT_BYTES, ...(signal === undefined ? {} : { signal }) },
  )
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as HopFigures
}

interface Summary {
  readonly cpuUsPerEvent: number
  readonly eventsPerSecond: number
  readonly rssStartMb: number
  readonly rssEndMb: number
}

/** Medians. */
function summarise(runs: readonly HopFigures[]): Summary {
  const median = (of: (run: HopFigures) => number): number => {
    const sorted = runs.map(of).toSorted((a, b) => a - b)
    return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  }
  return {
    cpuUsPerEvent: Number(median((run) => run.cpuUs / run.events).toFixed(3)),
    eventsPerSecond: Math.round(median((run) => run.events / run.seconds)),
    rssStartMb: Math.round(median((run) => run.rssStartBytes / 1e6)),
    rssEndMb: Math.round(median((run) => run.rssEndBytes / 1e6)),
  }
}

/** CPU of the straightforward program by ours. */
function ratios(summary: Readonly<Record<string, Summary>>): Record<string, number> {
  const of = (kind: string): number => {
    const theirs = summary[`straightforward ${kind}`]?.cpuUsPerEvent ?? Number.NaN
    return Number((theirs / (summary[`ours ${kind}`]?.cpuUsPerEvent ?? Number.NaN)).toFixed(1))
  }
  return options.alone ? {} : Object.fromEntries(kinds.map((kind) => [kind, of(kind)]))
}

function printTable(summary: Readonly<Record<string, Summary>>): void {
  print('\nmedians                  µs CPU/event   events/s   RSS MB, start and end')
  for (const [name, one] of Object.entries(summary)) {
    const cells = [one.cpuUsPerEvent.toFixed(2).padStart(12), String(one.eventsPerSecond).padStart(10)]
    print(`${name.padEnd(24)} ${cells.join(' ')}   ${one.rssStartMb} ${one.rssEndMb}`)
  }
  for (const [kind, ratio] of Object.entries(ratios(summary))) print(`${kind}: ${ratio} times less CPU`)
}

function describe(run: HopFigures): string {
  const { cpuUsPerEvent, eventsPerSecond } = summarise([run])
  return `${cpuUsPerEvent.toFixed(2)} µs CPU per event, ${eventsPerSecond} events/s`
}

function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
