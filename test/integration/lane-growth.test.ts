import { expect, inject, onTestFinished, test } from 'vitest'
import { commandConnections, logConnections } from '../../infra/cli/connections.ts'
import { growLanes } from '../../infra/cli/lanes/grow-lanes.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { type KafkaAdmin, startKafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

const DEADLINE_MS = 240_000
/** A replay that the test ends. */
const MANY = 100_000
const GROWN = ['dead-letters', 'predictions', 'shadow', 'features', 'labels', 'events']

interface Ended {
  readonly code: number | NodeJS.Signals
  readonly output: string
}

async function ended(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const run = spawnNode(args, { env: { ...inject('stack').env, ...env } })
  return { code: await run.exited, output: run.output() }
}

const grow = (folder: string, ...args: string[]): Promise<Ended> =>
  ended(['infra/cli/main.ts', 'topics', 'grow', folder, ...args])

async function openAdmin(): Promise<KafkaAdmin> {
  const admin = await startKafkaAdmin(commandConnections({ ...process.env, ...inject('stack').env }).kafka)
  onTestFinished(() => admin.stop())
  return admin.value
}

function openLogs(): { readonly logs: LogReader } {
  const { settings } = commandConnections({ ...process.env, ...inject('stack').env })
  const { connections, reader: logs } = logConnections(settings)
  onTestFinished(() => connections.close())
  return { logs }
}

/** How many each partition has, markers not counted. */
async function recordsOf(logs: LogReader, topic: string, partitions: number): Promise<readonly number[]> {
  const counts = Array.from({ length: partitions }, async (_, partition) => {
    const { start, end } = await logs.range(topic, partition)
    let records = 0
    for await (const { length } of logs.read(topic, partition, start, end)) records += length
    return records
  })
  return await Promise.all(counts)
}

async function declared(partitions: number): Promise<{ name: string; folder: string; admin: KafkaAdmin }> {
  const { name, folder } = copyPipeline(FLIGHTS)
  const args = ['infra/cli/main.ts', 'topics', folder, '--partitions', String(partitions), '--allow-single-replica']
  const { code, output } = await ended(args)
  expect(code, output).toBe(0)
  return { name, folder, admin: await openAdmin() }
}

const countsOf = async (admin: KafkaAdmin, name: string, topics = [...GROWN, 'weather']) =>
  Object.fromEntries(
    [...(await admin.partitionCounts(topics.map((topic) => `${name}.${topic}`)))].map(([topic, count]) => [
      topic.slice(name.length + 1),
      count,
    ]),
  )
const each = (count: number) => Object.fromEntries(GROWN.map((topic) => [topic, count]))

test('a pipeline grows while it works: every event is predicted once, also those in the new lanes', {
  timeout: 2 * DEADLINE_MS,
}, async () => {
  const { env } = inject('stack')
  const { name, folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env, { partitions: 2 })
  const replaying = run.replay({ limit: MANY, rate: '300' })
  await eventually(
    async () => {
      // a claim's marker takes an offset, so the log's end alone does not tell
      if ((await run.account()).predicted === 0) throw new Error('nothing is predicted yet')
    },
    { deadlineMs: DEADLINE_MS },
  )
  const { code, output } = await grow(folder, '--lanes', '4')
  expect(code, output).toBe(0)
  const { events: grownAt } = await run.account()
  await eventually(async () => expect((await run.account()).events).toBeGreaterThan(grownAt + 300), {
    deadlineMs: DEADLINE_MS,
  })
  await replaying.stop()
  expect(output).toMatch(/^Key order does not hold across this growth: .* With --drain it does\.$/m)
  expect(await countsOf(run.admin, name)).toEqual({ ...each(4), weather: 2 })
  const { events: before } = await run.account()

  // a producer that has just started knows of the new lanes
  expect(await run.replay({ limit: 1_000, from: '2013-05-01', rate: 'max' }).exited).toBe(0)
  const added = (await run.admin.ranges(`${name}.events`)).slice(2)
  expect(added.map(({ high }) => high > 0)).toEqual([true, true])
  const all = before + 1_000
  expect(await run.settled(all, DEADLINE_MS)).toMatchObject({ predicted: all, deadLetters: [], duplicates: 0 })
  const { logs } = openLogs()
  for (const topic of ['features', 'predictions']) {
    expect(await recordsOf(logs, `${name}.${topic}`, 4)).toEqual(await recordsOf(logs, `${name}.events`, 4))
  }
})

test('the order of growth; a run that broke off is finished by the same command; lanes do not shrink', {
  timeout: DEADLINE_MS,
}, async () => {
  const { name, folder, admin } = await declared(2)
  const plan = await grow(folder, '--lanes', '5', '--dry-run')
  expect(
    plan.output.match(/to grow +\S+ \(2 to 5 partitions\)/g)?.map((line) => line.split('.')[1]?.split(' ')[0]),
  ).toEqual(GROWN)
  expect(await countsOf(admin, name)).toEqual({ ...each(2), weather: 2 })

  const { logs } = openLogs()
  const said: string[] = []
  const crash = (line: string): void => {
    if (line.startsWith('grown ')) said.push(line)
    if (said.length === 2) throw new Error('crashed')
  }
  const options = { lanes: 5, drain: false, dryRun: false }
  await expect(
    growLanes({ admin, logs, clock: systemClock, say: crash }, await loadPipeline(folder), options),
  ).rejects.toThrow('crashed')
  expect(await countsOf(admin, name)).toEqual({ ...each(2), weather: 2, 'dead-letters': 5, predictions: 5 })

  const rest = await grow(folder, '--lanes', '5')
  expect(rest.code, rest.output).toBe(0)
  expect(rest.output.match(/^grown +\S+/gm)).toHaveLength(4)
  expect(await countsOf(admin, name)).toEqual({ ...each(5), weather: 2 })
  expect(await grow(folder, '--lanes', '5')).toMatchObject({ code: 0, output: expect.stringMatching(/^unchanged /) })
  expect(await grow(folder, '--lanes', '4')).toMatchObject({
    code: 1,
    output: expect.stringContaining(`${name}.events has 5 partitions: Kafka takes none away`),
  })
})

test('an events topic of somebody else is not touched', { timeout: DEADLINE_MS }, async () => {
  const admin = await openAdmin()
  const topic = uniqueName('departures')
  await eventually(() => admin.createTopic({ name: topic, partitions: 2, replicas: 1, config: {} }), {
    deadlineMs: DEADLINE_MS,
  })
  const { name, folder } = copyPipeline(FLIGHTS, (source) =>
    source.replace('event: {', `event: { topic: '${topic}', subject: '${topic}-value',`),
  )
  expect(await ended(['infra/cli/main.ts', 'topics', folder, '--allow-single-replica'])).toMatchObject({ code: 0 })
  const { code, output } = await grow(folder, '--lanes', '3')
  expect(code, output).toBe(0)
  expect(output).toContain(`not ours  ${topic} (2 partitions): its owner can give it up to 3 now`)
  const { events: _, ...outputs } = each(3)
  expect(await countsOf(admin, name)).toEqual({ ...outputs, weather: 2 })
  expect(await admin.partitionCounts([topic])).toEqual(new Map([[topic, 2]]))
})

test('a drain ends when somebody still writes events, and changes nothing then; without writers it waits for the stages', {
  timeout: 2 * DEADLINE_MS,
}, async () => {
  const { env } = inject('stack')
  const { name, folder } = copyPipeline(FLIGHTS)
  const run = await runPipeline(folder, env, { partitions: 2 })
  const replaying = run.replay({ limit: MANY, rate: '100' })
  await eventually(
    async () => {
      if ((await run.admin.ranges(`${name}.events`)).every(({ high }) => high === 0)) throw new Error('no event yet')
    },
    { deadlineMs: DEADLINE_MS },
  )
  const refused = await grow(folder, '--lanes', '4', '--drain')
  expect(refused.code, refused.output).toBe(1)
  expect(refused.output).toMatch(
    new RegExp(`${name}\\.events/\\d has moved by \\d+ offset\\(s\\): stop whoever writes to ${name}\\.events`),
  )
  expect(await countsOf(run.admin, name)).toEqual({ ...each(2), weather: 2 })

  await replaying.stop()
  const drained = await grow(folder, '--lanes', '4', '--drain')
  expect(drained.code, drained.output).toBe(0)
  expect(drained.output).toContain(`drained   ${name}.events: every stage has caught up`)
  expect(drained.output).not.toContain('Key order')
  expect(await countsOf(run.admin, name)).toEqual({ ...each(4), weather: 2 })
  const [events, predictions] = await Promise.all(
    ['events', 'predictions'].map(async (topic) => await run.admin.ranges(`${name}.${topic}`)),
  )
  expect(events?.map(({ high }) => high > 0)).toEqual([true, true, false, false])
  expect(predictions?.slice(2).map(({ high }) => high)).toEqual([0, 0])
})

test('a stage does not start on outputs with fewer partitions than its input, and names the command', {
  timeout: DEADLINE_MS,
}, async () => {
  const { name, folder, admin } = await declared(2)
  await admin.addPartitions(`${name}.events`, 3)
  const { code, output } = await ended(['processors/main.ts'], { MILLRACE_PIPELINE: folder })
  expect(code, output).toBe(1)
  expect(output).toContain('"code":"lanes_differ"')
  expect(output).toContain(`millrace topics grow ${folder} --lanes 3`)
  expect(output).toMatch(new RegExp(`${name}\\.features has 2.* but ${name}\\.events has 3`))
})

test('a stage does not start on topics that lose what they acknowledge, unless that is accepted', {
  timeout: DEADLINE_MS,
}, async () => {
  const { name, folder } = await declared(2)
  const env = { MILLRACE_PIPELINE: folder, MILLRACE_ALLOW_SINGLE_REPLICA: 'false' }
  const { code, output } = await ended(['processors/main.ts'], env)
  expect(code, output).toBe(1)
  expect(output).toContain('"code":"replication_too_low"')
  expect(output).toContain(`topic ${name}.events: it has 1 replica(s), 3 are needed`)
  expect(output).toContain('MILLRACE_ALLOW_SINGLE_REPLICA=true')
})
