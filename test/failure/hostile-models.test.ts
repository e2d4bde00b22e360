/** Models that hang, crash, eat memory and refuse, in stages as they run: what ends as what, how long a lane stands still. */
import { readFileSync } from 'node:fs'
import { expect, inject, test } from 'vitest'
import { processUsage } from '../../inference/execution/process-usage.ts'
import { commandConnections, logConnections } from '../../infra/cli/connections.ts'
import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter, Prediction } from '../../schemas/generated/records.ts'
import { consumerGroup, stageTopic } from '../../schemas/topics.ts'
import { auditOf } from '../support/audit-of.ts'
import { childPid } from '../support/child-pid.ts'
import { eventually } from '../support/eventually.ts'
import { hostilePipeline, readingOf } from '../support/hostile-pipeline.ts'
import type { ModelVersion } from '../support/model-version.ts'
import { CRASHING, HANGING, HUNGRY, POISON, REFUSING } from '../support/onnx/hostile-models.ts'
import { writeRawRecords } from '../support/raw-records.ts'
import { type RunningPipeline, runPipeline } from '../support/running-pipeline.ts'
import { slowdown } from '../support/slowdown.ts'

const LANES = 4
/** Good events of a round in each lane, before a poisonous one and behind it. */
const GOOD = 120
const ROUND = 2 * GOOD * LANES
const RECOVERY_MS = 5_000
/** For each further row of a round, which may be in the same micro-batch. */
const ANOTHER_MS = 2_000
const DEADLINE_MS = 240_000

const mean = (a: number): number => (a + 5) / 3

interface Hostile {
  readonly model: ModelVersion
  readonly stage: 'inference' | 'fused'
  readonly env?: Readonly<Record<string, string>>
  /** A good event's score. */
  readonly score: (a: number) => number
  /** Poisonous events of each round: the lanes that they are in, and what becomes of them. */
  readonly rounds: readonly (readonly (readonly [lane: number, a: number, reason: string])[])[]
  /** Called in the first round, when its events are in Kafka. */
  readonly meanwhile?: (stagePid: number) => Promise<void>
}

interface Stored<T> {
  readonly partition: number
  readonly appendedAt: number
  readonly value: T
}

/** Everything of a topic, and how many claims of its partitions there were. */
async function readLog<T>(env: Readonly<Record<string, string>>, topic: string, decode: (value: Buffer) => T) {
  const { settings } = commandConnections({ ...process.env, ...env })
  const { connections, reader } = logConnections(settings)
  const records: Stored<T>[] = []
  const claims = Array.from({ length: LANES }, () => 0)
  try {
    for (let partition = 0; partition < LANES; partition++) {
      const { start, end } = await reader.range(topic, partition)
      for await (const set of reader.read(topic, partition, start, end)) {
        claims[partition] = (claims[partition] ?? 0) + set.markers.length
        for (let row = 0; row < set.length; row++) {
          const { timestamps } = set
          const value = decode(sliceAt(set.values, row) ?? Buffer.alloc(0))
          records.push({ partition, appendedAt: timestamps[row] as number, value })
        }
      }
    }
  } finally {
    await connections.close()
  }
  return { records, claims }
}

async function decoderOf<T>(contract: 'prediction' | 'dead-letter'): Promise<(value: Buffer) => T> {
  const type = parseAvroSchema(await readContract(contract), contract)
  const decode = type.readerOf(type)
  return (value) => decode(value) as T
}

/** Who is in the group, and what each of them has. */
async function groupOf(env: Readonly<Record<string, string>>, group: string): Promise<readonly string[]> {
  const admin = commandConnections({ ...process.env, ...env }).kafka.native.admin()
  await admin.connect()
  try {
    const { groups } = await admin.describeGroups([group])
    const [found] = groups
    const members = found?.members.map(
      ({ memberId, memberAssignment }) => `${memberId} ${memberAssignment.toString('hex')}`,
    )
    return [String(found?.state), ...(members ?? [])]
  } finally {
    await admin.disconnect()
  }
}

function expectEvents(run: RunningPipeline, atLeast: number): Promise<void> {
  const predicted = async () => expect((await run.account()).predicted).toBeGreaterThanOrEqual(atLeast)
  return eventually(predicted, { deadlineMs: DEADLINE_MS })
}

async function survives({ model, stage, env: more, score, rounds, meanwhile }: Hostile): Promise<string> {
  const env = { ...inject('stack').env, MILLRACE_INFERENCE_EXECUTOR: 'process', ...more }
  const run = await runPipeline(hostilePipeline(model), env, { partitions: LANES, start: false })
  for (const name of stage === 'fused' ? ([stage, 'sinks'] as const) : (['processors', stage, 'sinks'] as const)) {
    run.startStage(name)
  }
  const { pipeline } = run
  const { event } = pipeline
  const type = parseAvroSchema(event.schema, 'reading')
  const schemaId = await commandConnections({ ...process.env, ...env }).registry.register(event.subject, event.schema)
  const group = consumerGroup(pipeline.name, stage === 'fused' ? 'processors' : 'inference')
  const features = new Map<string, number>()
  const poisons = new Map<string, { readonly lane: number; readonly reason: string; readonly offset: number }>()
  /** How long a lane may stand still, by the id of what made it. */
  const limits = new Map<string, number>()

  async function send(round: string, poisonous: Hostile['rounds'][number]): Promise<readonly string[]> {
    const records = Array.from({ length: LANES }, (_, partition) => {
      const record = (id: string, a: number) => {
        features.set(id, a)
        return { partition, key: id, value: type.encode(schemaId, readingOf({ id, a })) }
      }
      const good = Array.from({ length: 2 * GOOD }, (_, at) => record(`${round}-${partition}-${at}`, 20 + (at % 60)))
      const bad = poisonous
        .filter(([lane]) => lane === partition)
        .map(([, a], at) => record(`${round}-${partition}-bad-${at}`, a))
      return good.toSpliced(GOOD, 0, ...bad)
    }).flat()
    const offsets = await writeRawRecords(env, event.topic, records)
    for (const [at, { key, partition }] of records.entries()) {
      const reason = poisonous.find(([lane]) => lane === partition)?.[2]
      if (key.includes('bad') && reason !== undefined) {
        poisons.set(key, { lane: partition, reason, offset: offsets[at] ?? -1 })
      }
    }
    return records.map(({ key }) => key).filter((key) => poisons.has(key))
  }

  await send('calm', [])
  await expectEvents(run, ROUND)
  const { pid } = run.stage(stage)
  if (pid === null) throw new Error(`${stage} is not running`)
  const members = await groupOf(env, group)
  expect(members).toHaveLength(2)
  for (const [at, poisonous] of rounds.entries()) {
    const ids = await send(`round-${at}`, poisonous)
    if (at === 0) await meanwhile?.(pid)
    await expectEvents(run, ROUND * (at + 2))
    const limitMs = (RECOVERY_MS + (poisonous.length - 1) * ANOTHER_MS) * slowdown()
    for (const id of ids) limits.set(id, limitMs)
  }
  await send('calm-again', [])
  const account = await run.settled(features.size, DEADLINE_MS)

  // all that is good is predicted, each as it would be alone, and what is not is a dead letter
  expect(account).toMatchObject({ predicted: features.size - poisons.size, missing: 0, duplicates: 0 })
  const predictions = await readLog(
    env,
    stageTopic(pipeline.name, 'predictions'),
    await decoderOf<Prediction>('prediction'),
  )
  for (const { value } of predictions.records) {
    expect(value.score).toBeCloseTo(score(features.get(value.event_id) ?? Number.NaN), 3)
  }
  const letters = await readLog(
    env,
    stageTopic(pipeline.name, 'dead-letters'),
    await decoderOf<DeadLetter>('dead-letter'),
  )
  const given = letters.records.map(({ value }) => [value.event_id, value.reason, value.stage] as const)
  expect(new Map(given.map(([id, ...rest]) => [id, rest]))).toEqual(
    new Map([...poisons].map(([id, { reason }]) => [id, [reason, stage]])),
  )
  expect(given).toHaveLength(poisons.size)
  expect(await auditOf(run, env)).toMatchObject({ verdict: 'exact', problems: [] })

  // the process that had the partitions has them still
  expect(run.stage(stage)).toMatchObject({ pid, restarts: 0 })
  expect(await groupOf(env, group)).toEqual(members)
  // every claim leaves a marker: there was one for each partition
  expect(predictions.claims).toEqual(Array.from({ length: LANES }, () => 1))

  const events = await readLog(env, event.topic, () => null)
  for (const [id, { lane, offset }] of poisons) {
    const appendedAt = events.records.filter(({ partition }) => partition === lane)[offset]?.appendedAt ?? Number.NaN
    const behind = predictions.records.find(
      ({ partition, value }) => partition === lane && value.origin_offset > offset,
    )
    const ms = (behind?.appendedAt ?? Number.NaN) - appendedAt
    expect(ms, id).toBeLessThan(limits.get(id) ?? 0)
  }
  return readFileSync(run.stage(stage).logFile, 'utf8')
}

const timeout = 3 * DEADLINE_MS

test('a model that hangs: the row is a dead letter, its lane goes on within 5 s', { timeout }, async () => {
  const reason = 'model_timeout'
  const rounds = [
    [[0, POISON, reason]],
    [[1, POISON, reason]],
    [
      [2, POISON, reason],
      [3, POISON, reason],
    ],
  ] as const
  const log = await survives({ model: HANGING, stage: 'inference', score: mean, rounds })
  expect(log).toContain('"fault":"timeout"')
})

test('a segmentation fault while it hangs: still the row alone is a dead letter', { timeout }, async () => {
  const log = await survives({
    model: HANGING,
    stage: 'inference',
    score: mean,
    rounds: [[[2, POISON, 'model_timeout']]],
    async meanwhile(stagePid) {
      const child = childPid(stagePid)
      const before = (await processUsage(child))?.cpuMs ?? Number.NaN
      const runsOn = async () => expect(((await processUsage(child))?.cpuMs ?? 0) - before).toBeGreaterThan(150)
      await eventually(runsOn, { deadlineMs: RECOVERY_MS })
      process.kill(child, 'SIGSEGV')
    },
  })
  expect(log).toContain('the child was ended by SIGSEGV')
})

test('a model that crashes: the rows are dead letters, their lanes go on within 5 s', { timeout }, async () => {
  const reason = 'model_crash'
  const rounds = [[[0, POISON, reason]], [1, 2, 3].map((lane) => [lane, POISON, reason] as const)] as const
  const log = await survives({ model: CRASHING, stage: 'inference', score: mean, rounds })
  expect(log).toContain('the child was ended by SIGFPE')
})

test('a model that runs out of memory: the rows are dead letters, their lanes go on within 5 s', {
  timeout,
}, async () => {
  const log = await survives({
    model: HUNGRY,
    stage: 'inference',
    env: { MILLRACE_INFERENCE_CHILD_MEMORY_MB: '400' },
    score: mean,
    // more than it may have, and more than there is
    rounds: [
      [[0, 300e6, 'model_crash']],
      [
        [1, 300e6, 'model_crash'],
        [2, 300e6, 'model_crash'],
      ],
      [[3, 4e13, 'model_error']],
    ],
  })
  expect(log).toContain('"fault":"memory"')
})

test('a model that refuses some rows: they alone are dead letters', { timeout }, async () => {
  const none = 'model_error'
  const rounds = [
    [
      [0, 150, none],
      [0, 1e6, none],
      [0, 100, none],
    ],
    [0, 1, 2, 3].map((lane) => [lane, 400, none] as const),
  ] as const
  const log = await survives({ model: REFUSING, stage: 'inference', score: (a) => a + 1, rounds })
  expect(log).not.toContain('executor child ended')
})

test('fused: a row that the model hangs on is a dead letter there, too', { timeout }, async () => {
  const rounds = [[[1, POISON, 'model_timeout']], [[3, POISON, 'model_timeout']]] as const
  await survives({ model: HANGING, stage: 'fused', score: mean, rounds })
})
