import { expect, inject, onTestFinished, test } from 'vitest'
import { commandConnections } from '../../infra/cli/connections.ts'
import { patiently } from '../../infra/cli/patiently.ts'
import { deployPipeline } from '../../infra/cli/up/start-pipeline.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import { parseReplayLine, type ReplayDone } from '../../infra/sample/replay/progress.ts'
import { openTimedFile } from '../../infra/sample/replay/timed-records.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS, ORDERS } from '../support/pipeline-copy.ts'
import { readTopic } from '../support/read-topic.ts'
import { type RunningProcess, spawnNode } from '../support/spawn-process.ts'

const { env } = inject('stack')
const brokers = env['KAFKA_BROKERS'] ?? ''
const DAY_MS = 86_400_000
type DataRecord = Readonly<Record<string, unknown>>

async function deployed(folder: string): Promise<{ readonly pipeline: CompiledPipeline; readonly admin: KafkaAdmin }> {
  const pipeline = await loadPipeline(copyPipeline(folder).folder)
  const connections = commandConnections({ ...process.env, ...env })
  const { value: admin, stop } = await startKafkaAdmin(connections.kafka)
  onTestFinished(stop)
  const options = { partitions: 3, allowSingleReplica: true, onProgress: () => {} }
  const patience = { say: () => {}, signal: AbortSignal.timeout(120_000) }
  await patiently('deploying', () => deployPipeline(pipeline, connections, admin, options), patience)
  return { pipeline, admin }
}

function startReplay({ folder }: CompiledPipeline, args: readonly string[], variables = {}): RunningProcess {
  const replay = ['infra/sample/replay/main.ts', '--pipeline', folder, ...args]
  return spawnNode(replay, { env: { ...env, ...variables } })
}

const lines = (replay: RunningProcess) =>
  replay
    .output()
    .split('\n')
    .flatMap((line) => parseReplayLine(line) ?? [])

async function finished(replay: RunningProcess): Promise<ReplayDone> {
  expect(await replay.exited, replay.output()).toBe(0)
  const last = lines(replay).at(-1)
  if (last === undefined || !('done' in last)) throw new Error(`no last line in ${replay.output()}`)
  return last
}

async function dataOf({ folder }: CompiledPipeline, file: string, timeField: string): Promise<DataRecord[]> {
  const records: DataRecord[] = []
  const reader = await openTimedFile(`${folder}/data/${file}.avro`, timeField)
  for (; reader.head !== null; await reader.advance()) records.push({ ...reader.head.record })
  return records
}

test('all events and labels of a pipeline arrive once, in order of their time', async () => {
  const { pipeline } = await deployed(ORDERS)
  const done = await finished(startReplay(pipeline, []))
  const { event, label } = pipeline
  if (label === null) throw new Error('orders have labels')
  const events = await readTopic<DataRecord>(brokers, event.topic, event.schema)
  const labels = await readTopic<DataRecord>(brokers, label.topic, label.schema)
  const expected = await dataOf(pipeline, 'events', event.timeField)
  const ids = (records: readonly DataRecord[], field: string) => records.map((record) => String(record[field])).sort()
  const values = events.map(({ value }) => value)
  expect(ids(values, event.idField)).toEqual(ids(expected, event.idField))
  for (const partition of [0, 1, 2]) {
    const times = events.filter((each) => each.partition === partition).map(({ value }) => value[event.timeField])
    expect(times).toEqual(times.toSorted((a, b) => Number(a) - Number(b)))
    expect(done.perPartitionEvents[partition]).toBe(times.length)
  }
  const known = new Set(ids(expected, event.idField))
  const wanted = (await dataOf(pipeline, 'labels', label.timeField)).filter((each) =>
    known.has(String(each[label.idField])),
  )
  const found = labels.map(({ value }) => value)
  expect(ids(found, label.idField)).toEqual(ids(wanted, label.idField))
  for (const { key, value } of labels) expect(key).toBe(value[label.idField])
  expect(done).toMatchObject({
    events: expected.length,
    labels: wanted.length,
    labelsExpected: new Set(ids(wanted, label.idField)).size,
    tableRows: 0,
    firstEventTime: expected[0]?.[event.timeField],
    lastEventTime: expected.at(-1)?.[event.timeField],
  })
})

test('table rows are in Redis before the events that need them', async () => {
  const { pipeline } = await deployed(FLIGHTS)
  const sinks = spawnNode(['sinks/main.ts'], { env: { ...env, MILLRACE_PIPELINE: pipeline.folder } })
  const done = await finished(startReplay(pipeline, ['--limit', '3000', '--from', '2013-06-01']))
  sinks.kill('SIGTERM')
  expect(await sinks.exited, sinks.output()).toBe(0)

  const [table] = pipeline.tables
  if (table === undefined) throw new Error('flights have a table')
  const rows = await readTopic<DataRecord>(brokers, table.topic, table.schema)
  expect(rows).toHaveLength(done.tableRows)
  const times = rows.map(({ value }) => Number(value[table.timeField]))
  expect(Math.min(...times)).toBeGreaterThanOrEqual(done.firstEventTime - table.maxAgeMs - DAY_MS)
  expect(Math.min(...times)).toBeLessThan(done.firstEventTime - table.maxAgeMs)
  expect(Math.max(...times)).toBeGreaterThan(done.lastEventTime + 30 * DAY_MS)
  for (const { key, value } of rows) {
    expect(key).toBe(tableKeyText(table.keyFields.map((field) => value[field] as string | number)))
  }
  expect(done).toMatchObject({ events: 3_000, firstEventTime: Date.parse('2013-06-01') })
  const events = await readTopic<DataRecord>(brokers, pipeline.event.topic, pipeline.event.schema)
  for (const { key, value } of events) expect(key).toBe(value['tailnum'])
})

test('without sinks no event goes, and the replay says why', async () => {
  const { pipeline, admin } = await deployed(FLIGHTS)
  const replay = startReplay(pipeline, ['--limit', '10'], { MILLRACE_REPLAY_TABLE_WAIT_MS: '500' })
  expect(await replay.exited).toBe(1)
  expect(replay.output()).toContain('table weather is not in Redis')
  expect((await admin.ranges(pipeline.event.topic)).every(({ low, high }) => low === high)).toBe(true)
})

test('a replay that is stopped ends in order, with what it reported in Kafka', async () => {
  const { pipeline, admin } = await deployed(ORDERS)
  const replay = startReplay(pipeline, ['--rate', '10'])
  await eventually(() => expect(lines(replay).length).toBeGreaterThan(1), { deadlineMs: 60_000 })
  replay.kill('SIGTERM')
  expect(await replay.exited).toBe(0)
  const last = lines(replay).at(-1)
  if (last === undefined || 'done' in last) throw new Error('it was not stopped before its end')
  const inKafka = (await admin.ranges(pipeline.event.topic)).reduce((sum, { high }) => sum + high, 0)
  expect(inKafka).toBeGreaterThanOrEqual(last.sent)
  expect(inKafka).toBeLessThan(500)
})
