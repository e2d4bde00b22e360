import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { promisify } from 'node:util'
import { expect, inject, onTestFinished, test } from 'vitest'
import { totalsOf } from '../../infra/cli/audit/report.ts'
import { runAudit } from '../../infra/cli/audit/run-audit.ts'
import { commandConnections, logConnections } from '../../infra/cli/connections.ts'
import { createLetterReader } from '../../infra/cli/dlq/read-letters.ts'
import { replayLetters } from '../../infra/cli/dlq/replay.ts'
import { findLetters, listLetters } from '../../infra/cli/dlq/show-letters.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { createIdempotentWriter } from '../../infra/runtime/kafka/producer/idempotent-writer.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { letterPlaceText } from '../../schemas/headers.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { createLightAudit } from '../../sinks/audit/light-audit.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { type RawRecord, writeRawRecords } from '../support/raw-records.ts'
import { type RunningPipeline, runPipeline } from '../support/running-pipeline.ts'

const EVENTS = 2_000
const DEADLINE_MS = 180_000
const EXACT = { missing: 0, double: 0, outOfOrder: 0, foreign: 0 }
const EVERYTHING = { window: { from: null, to: null }, maxExamples: 5 }
const REPLAY = { filter: {}, dryRun: false, again: false, limit: null, rate: null }

interface Ended {
  readonly code: number
  readonly output: string
}

async function millrace(env: Readonly<Record<string, string>>, ...args: string[]): Promise<Ended> {
  const command = ['--conditions=millrace-source', 'infra/cli/main.ts', ...args]
  try {
    const { stdout } = await promisify(execFile)(process.execPath, command, {
      env: { ...process.env, ...env },
      maxBuffer: 2 ** 26,
    })
    return { code: 0, output: stdout }
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: number; stdout?: string; stderr?: string }
    if (typeof code !== 'number') throw error
    return { code, output: `${stdout}${stderr}` }
  }
}

/** What the commands are made from, in this process. */
async function commandsOn(run: RunningPipeline, env: Readonly<Record<string, string>>) {
  const { pipeline, admin, clickhouse } = run
  const { registry, settings } = commandConnections({ ...process.env, ...env })
  const logs = logConnections(settings)
  onTestFinished(() => logs.connections.close())
  const writer = createIdempotentWriter({ connections: logs.connections, clock: systemClock, logger: silentLogger })
  onTestFinished(() => writer.stop())
  const { topic } = pipeline.event
  const generation = (await logs.connections.topics([topic])).get(topic)?.id ?? ''
  const letters = await createLetterReader({ admin, reader: logs.reader, registry }, pipeline)
  const deps = {
    pipeline,
    admin,
    clickhouse,
    registry,
    ...logs,
    generation,
    letters,
    clock: systemClock,
    now: Date.now(),
  }
  return {
    ...deps,
    async audit() {
      const { verdict, lanes } = await runAudit({ ...deps, now: Date.now() }, EVERYTHING)
      return { verdict, totals: totalsOf(lanes), examples: lanes.map(({ examples }) => examples) }
    },
    list: (filter: object, limit = 5_000) => listLetters(deps, filter, limit),
    show: (wanted: string) => findLetters(deps, wanted),
    replay: (change: object) => replayLetters({ ...deps, writer: writer.value }, { ...REPLAY, ...change }),
  }
}
type Commands = Awaited<ReturnType<typeof commandsOn>>

/** A flights pipeline whose model's manifest narrows the scores, so that inference rejects some. */
function narrowedFlights() {
  const { name, folder } = copyPipeline(FLIGHTS)
  const file = path.join(folder, 'models/1/manifest.json')
  const whole = readFileSync(file, 'utf8')
  const narrow = whole.replace(/"range": \[[^\]]*\]/, '"range": [0.03, 0.97]')
  if (narrow === whole) throw new Error('the manifest has no range')
  writeFileSync(file, narrow)
  return { name, folder, widen: () => writeFileSync(file, whole) }
}

function badRecords(run: RunningPipeline, flight: Readonly<Record<string, unknown>>, schemaId: number): RawRecord[] {
  const type = parseAvroSchema(run.pipeline.event.schema, 'event')
  const far = type.encode(schemaId, { ...flight, event_id: 'far', distance: 9_000 })
  return [
    { partition: 0, key: 'a', value: Buffer.from('junk'), headers: { from: 'upstream' } },
    { partition: 1, key: 'b', value: far.subarray(0, far.length - 3) },
    { partition: 2, key: 'c', value: far },
  ]
}

const FLIGHT = {
  event_id: 'x',
  carrier: 'UA',
  flight: 1,
  tailnum: 'N1',
  origin: 'EWR',
  dest: 'ORD',
  scheduled_at: Date.UTC(2013, 2, 15, 10),
  departed_at: Date.UTC(2013, 2, 15, 10),
  dep_delay: 0,
  distance: 700,
  plane_year: 2000,
  plane_seats: 100,
}

test('a run is audited as exact, dead letters are replayed with their outcome, and planted faults are found', {
  timeout: 900_000,
}, async () => {
  const { env } = inject('stack')
  const { name, folder, widen } = narrowedFlights()
  const run = await runPipeline(folder, env)
  const { event } = run.pipeline
  const commands = await commandsOn(run, env)
  const { audit, list, show, replay } = commands
  const schemaId = await commands.registry.register(event.subject, event.schema)

  // a run with bad events
  run.replay({ limit: EVENTS, from: '2013-03-15', rate: 'max' })
  const bad = badRecords(run, FLIGHT, schemaId)
  const [junkOffset] = await writeRawRecords(env, event.topic, bad)
  await run.settled(EVENTS + bad.length, DEADLINE_MS)
  const exact = await audit()
  expect(exact).toMatchObject({
    verdict: 'exact',
    totals: { events: { events: EVENTS + bad.length, inFlight: 0, ...EXACT } },
  })
  const { events, predictions, labels, deadLetters } = exact.totals
  expect(events.predicted + events.deadLettered).toBe(events.events)
  expect(predictions).toMatchObject({ records: events.predicted, stored: events.predicted, ...EXACT })
  expect(labels.records).toBe(labels.stored)
  const rejectedByInference = deadLetters.find(({ stage }) => stage === 'inference')?.count ?? 0
  expect(rejectedByInference).toBeGreaterThan(2)
  expect(events.deadLettered).toBe(rejectedByInference + bad.length)

  // list and its filters
  const all = await list({}, 5)
  expect(Object.fromEntries(all.sums.map(({ reason, count }) => [reason, count]))).toEqual({
    output_out_of_range: rejectedByInference,
    not_avro: 1,
    undecodable: 1,
    distance_out_of_range: 1,
  })
  expect(all.letters).toHaveLength(5)
  expect((await list({ id: 'far' })).sums).toMatchObject([{ reason: 'distance_out_of_range', count: 1 }])
  expect((await list({ from: Date.UTC(2100, 0) })).sums).toEqual([])
  const [junk] = (await list({ partition: 0, stage: 'processors' })).letters
  expect(junk?.stored.letter).toMatchObject({ reason: 'not_avro', origin_offset: junkOffset })

  // a dry run counts and writes nothing
  const ends = await run.admin.ranges(event.topic)
  const dry = await millrace(env, 'dlq', 'replay', folder, '--stage', 'inference', '--dry-run')
  expect(dry.code).toBe(0)
  expect(dry.output).toMatch(new RegExp(`would be replayed +${rejectedByInference}\\n`))
  expect(await run.admin.ranges(event.topic)).toEqual(ends)

  // what inference rejected is mended and replayed: the event's own bytes, not the feature vector
  widen()
  await run.stage('inference').stop()
  run.stage('inference').start()
  const mending = { filter: { stage: 'inference' }, limit: 3, rate: 100 }
  expect(await replay(mending)).toMatchObject({
    matched: rejectedByInference,
    replayed: 3,
    left: rejectedByInference - 3,
  })
  const mended = await eventually(
    async () => {
      const { letters } = await list({ stage: 'inference' })
      const ended = letters.filter(({ replays }) => replays[0]?.outcome?.end === 'predicted')
      expect(ended).toHaveLength(3)
      return ended
    },
    { deadlineMs: DEADLINE_MS },
  )
  const { partition, offset, letter } = mended[0]?.stored ?? { partition: -1, offset: -1, letter: null }
  const shown = await millrace(env, 'dlq', 'show', folder, `${partition}/${offset}`)
  expect(shown.output).toMatch(/inference\/output_out_of_range/)
  expect(shown.output).toContain(letter?.event_id ?? 'an event id')
  expect(shown.output).toMatch(/replayed +as event \d+\/\d+: predicted 0\.\d+/)

  // what is bad still is dead-lettered again, and says of which letter it is the replay
  const place = letterPlaceText(junk?.stored ?? { topic: '', partition: 0, offset: 0 })
  expect(await replay({ filter: { reason: 'not_avro' } })).toMatchObject({ replayed: 1 })
  await eventually(
    async () => {
      const again = (await list({ reason: 'not_avro' })).letters.filter(
        ({ stored }) => stored.letter.replay_of === place,
      )
      expect(again).toMatchObject([
        { replays: [], stored: { partition: 0, letter: { headers: { from: expect.anything() } } } },
      ])
      expect((await show(place))[0]?.replays).toMatchObject([{ outcome: { end: 'dead-lettered' } }])
    },
    { deadlineMs: DEADLINE_MS },
  )
  // the first is skipped now, its successor is not
  const filter = { reason: 'not_avro' }
  expect(await replay({ filter, dryRun: true })).toMatchObject({ replayed: 1, replayedBefore: 1 })
  expect(await replay({ filter, dryRun: true, again: true })).toMatchObject({ replayed: 2, replayedBefore: 0 })

  const after = await eventually(
    async () => {
      const now = await audit()
      expect(now.totals.events.inFlight + now.totals.predictions.inFlight).toBe(0)
      return now
    },
    { deadlineMs: DEADLINE_MS },
  )
  expect(after).toMatchObject({
    verdict: 'exact',
    totals: { events: { events: EVENTS + bad.length + 4 }, replayed: { predicted: 3, deadLettered: 1, open: 0 } },
  })
  expect((await millrace(env, 'audit', folder)).output).toContain(`${place} → event 0/`)

  // a label that is written again replaces the first one, and one that cannot be stored is a dead letter of sinks
  const labelTopic = run.pipeline.label?.topic ?? ''
  const label = await firstRecord(commands.reader, labelTopic, 0)
  await writeRawRecords(env, labelTopic, [
    { partition: 0, key: label.key, value: label.value },
    { partition: 1, key: 'k', value: Buffer.from('junk') },
  ])
  await eventually(
    async () => expect((await audit()).totals.labels).toMatchObject({ unstored: 1, inFlight: 0, ...EXACT }),
    { deadlineMs: DEADLINE_MS },
  )
  await run.clickhouse.command('OPTIMIZE TABLE labels FINAL')
  expect(await audit()).toMatchObject({
    verdict: 'exact',
    totals: { labels: { superseded: 1, unstored: 1, ...EXACT } },
  })
  const unstored = await millrace(env, 'dlq', 'replay', folder, '--kind', 'unstored')
  expect(unstored.code).toBe(1)
  expect(unstored.output).toMatch(/not replayable +1: its event is predicted already/)

  // the continuous audit finds the same, from ClickHouse, once sinks have committed what they have stored
  await eventually(
    async () => {
      const { faults, predicted, deadLettered } = await (await lightAuditOn(run, commands)).check()
      expect(faults).toEqual([])
      expect(predicted).toBe(after.totals.events.predicted)
      expect(deadLettered).toBeLessThanOrEqual(after.totals.events.deadLettered)
    },
    { deadlineMs: DEADLINE_MS },
  )

  // faults, each planted while nothing runs
  for (const stage of ['ingest', 'processors', 'inference', 'sinks'] as const) await run.stage(stage).stop()
  await plantAndFind(run, commands, env, { name, folder })
})

async function lightAuditOn({ pipeline, admin, clickhouse }: RunningPipeline, { connections, reader }: Commands) {
  const topics = [pipeline.event.topic, stageTopic(pipeline.name, 'predictions')] as const
  const ids = await connections.topics(topics)
  const [generation = '', predictionsGeneration = ''] = topics.map((topic) => ids.get(topic)?.id ?? '')
  const events = { topic: pipeline.event.topic, generation }
  return createLightAudit({ pipeline: pipeline.name, events, predictionsGeneration, admin, log: reader, clickhouse })
}

async function plantAndFind(
  run: RunningPipeline,
  commands: Commands,
  env: Readonly<Record<string, string>>,
  { name, folder }: { readonly name: string; readonly folder: string },
): Promise<void> {
  const { audit, reader } = commands
  const topic = stageTopic(name, 'predictions')
  const { event } = run.pipeline

  // not processed yet: in flight, and no fault
  const [waiting] = await writeRawRecords(env, event.topic, [{ partition: 3, key: 'k', value: Buffer.from('later') }])
  expect(await audit()).toMatchObject({ verdict: 'exact', totals: { events: { inFlight: 1, ...EXACT } } })

  // a skipped event: processors have committed a position above it
  const admin = commandConnections({ ...process.env, ...env }).kafka.native.admin()
  await admin.connect()
  const partitions = [{ partition: 3, offset: String(Number(waiting) + 1) }]
  await admin.setOffsets({ groupId: `${name}.processors`, topic: event.topic, partitions })
  await admin.disconnect()
  const skipped = await audit()
  expect(skipped).toMatchObject({ verdict: 'violated', totals: { events: { ...EXACT, missing: 1 } } })
  expect(skipped.examples[3]).toMatchObject([{ fault: 'missing', topic: event.topic, offset: waiting }])

  // a prediction that was written twice
  const copied = await firstRecord(reader, topic, 1)
  const [twice] = await writeRawRecords(env, topic, [{ partition: 1, key: copied.key, value: copied.value }])
  const doubled = await audit()
  expect(doubled.totals).toMatchObject({ events: { ...EXACT, missing: 1, double: 1 }, predictions: EXACT })
  expect(doubled.examples[1]).toMatchObject([{ fault: 'double', topic, offset: twice }])

  // a record that is none of ours
  const [strange] = await writeRawRecords(env, stageTopic(name, 'features'), [
    { partition: 2, key: 'k', value: Buffer.from('not a vector') },
  ])
  const foreign = await audit()
  expect(foreign.totals.events).toMatchObject({ ...EXACT, missing: 1, double: 1, foreign: 1 })
  expect(foreign.examples[2]).toMatchObject([{ fault: 'foreign', offset: strange }])

  // a row that ClickHouse has lost
  const { offset } = await firstRecord(reader, topic, 0)
  await run.clickhouse.command(
    `ALTER TABLE predictions DELETE WHERE pipeline = '${name}' AND kafka_partition = 0 AND kafka_offset = ${offset}
     SETTINGS mutations_sync = 2`,
  )
  const lost = await audit()
  expect(lost.totals.predictions).toMatchObject({ ...EXACT, missing: 1 })
  expect(lost.examples[0]).toMatchObject([{ fault: 'missing', topic, offset }])
  const light = await lightAuditOn(run, commands)
  expect((await light.check()).faults).toMatchObject([{ partition: 0, unaccounted: 1, duplicates: 0 }])

  // without ClickHouse the topics still tell what is wrong; with nothing wrong it could not tell
  const blind = { ...env, CLICKHOUSE_URL: 'http://127.0.0.1:9' }
  expect((await millrace(env, 'audit', folder, '--json')).code).toBe(1)
  expect((await millrace(blind, 'audit', folder)).code).toBe(1)
  const unknown = await millrace(blind, 'audit', folder, '--from', '2100-01-01')
  expect(unknown.code).toBe(2)
  expect(unknown.output).toContain('ClickHouse was not asked')
  expect((await millrace(env, 'audit', folder, '--from', '2100-01-01')).code).toBe(0)
}

/** The first record of a partition. */
async function firstRecord(reader: LogReader, topic: string, partition: number) {
  const { start, end } = await reader.range(topic, partition)
  for await (const set of reader.read(topic, partition, start, end)) {
    const value = sliceAt(set.values, 0)
    if (value !== null) return { key: sliceAt(set.keys, 0)?.toString() ?? '', value, offset: set.offsets[0] }
  }
  throw new Error(`${topic}/${partition} is empty`)
}
