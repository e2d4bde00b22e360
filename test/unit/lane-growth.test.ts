import { expect, test } from 'vitest'
import { checkFencing } from '../../infra/cli/doctor/check-fencing.ts'
import { drain } from '../../infra/cli/lanes/drain.ts'
import { planGrowth } from '../../infra/cli/lanes/growth-plan.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import type { LaneClaims, LaneWriter } from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { replicationProblem, requireLanes } from '../../infra/runtime/kafka/topic-checks.ts'
import { pipelineTopics } from '../../schemas/topics.ts'
import { manualClock } from '../support/manual-clock.ts'

const topics = (owned = true) =>
  pipelineTopics({
    name: 'p',
    event: { topic: owned ? 'p.events' : 'theirs', owned },
    tables: ['table'],
    hasLabel: true,
  })
const counts = (partitions: number, others: Readonly<Record<string, number>> = {}) =>
  new Map([
    ...[...topics(), ...topics(false)].map(({ name }): [string, number] => [name, partitions]),
    ...Object.entries(others),
  ])
const grown = ['p.dead-letters', 'p.predictions', 'p.shadow', 'p.features', 'p.labels']

test('partitions are added to whatever a reader writes before what it reads, to events last, to tables never', () => {
  const { outputs, events } = planGrowth(topics(), counts(2), 4)
  expect(outputs).toEqual(grown.map((topic) => ({ topic, from: 2, to: 4 })))
  expect(events).toEqual({ topic: 'p.events', from: 2, to: 4 })
})

test('after a run that broke off the same command does the rest; what has more partitions is left alone', () => {
  const broken = counts(2, { 'p.dead-letters': 4, 'p.predictions': 8 })
  const { outputs, events } = planGrowth(topics(), broken, 4)
  expect(outputs.map(({ topic }) => topic)).toEqual(['p.shadow', 'p.features', 'p.labels'])
  expect(events).toMatchObject({ to: 4 })
  const done = planGrowth(topics(), counts(4, { 'p.table': 2 }), 4)
  expect([done.outputs, done.events]).toEqual([[], null])
})

test('lanes never shrink, and a topic that is missing is named', () => {
  expect(() => planGrowth(topics(), counts(4), 3)).toThrow(
    expect.objectContaining({ code: 'lanes_cannot_shrink', message: expect.stringContaining('p.events has 4') }),
  )
  const incomplete = counts(2)
  incomplete.delete('p.shadow')
  expect(() => planGrowth(topics(), incomplete, 4)).toThrow(/p\.shadow does not exist: run millrace topics/)
})

test('an events topic that is not ours is not touched: outputs may have its partitions before it has', () => {
  for (const theirs of [2, 4]) {
    const plan = planGrowth(topics(false), counts(2, { theirs }), 4)
    expect(plan.outputs.map(({ topic }) => topic)).toEqual(grown)
    expect(plan).toMatchObject({ events: null, source: { topic: 'theirs', partitions: theirs, owned: false } })
  }
  expect(() => planGrowth(topics(false), counts(2, { theirs: 8 }), 4)).toThrow(/theirs has 8 partitions/)
})

test('an output with fewer partitions than the input is refused with names, counts and the command; more are fine', async () => {
  const admin = { partitionCounts: async () => new Map(Object.entries({ in: 4, out: 2, letters: 3, wide: 8 })) }
  const growCommand = (lanes: number): string => `grow ${lanes}`
  await expect(
    requireLanes(admin, { input: 'in', outputs: ['out', 'letters', 'wide'], growCommand }),
  ).rejects.toMatchObject({
    fate: 'crash',
    code: 'lanes_differ',
    message: expect.stringMatching(/^out has 2, letters has 3 partition\(s\), but in has 4: .* Run: grow 4$/),
  })
  await requireLanes(admin, { input: 'in', outputs: ['wide'], growCommand })
  await expect(requireLanes(admin, { input: 'in', outputs: ['none'], growCommand })).rejects.toMatchObject({
    code: 'unknown_topic',
  })
})

test('what loses acknowledged records is a problem; a single replica may be accepted, an unclean leader among several not', () => {
  const kept = { replicas: 3, minInSync: 2, unclean: false }
  const problem = (change: Partial<typeof kept>, allowed = false): string | null =>
    replicationProblem({ ...kept, ...change }, allowed)
  expect(problem({})).toBeNull()
  expect(problem({ replicas: 2 })).toBe('it has 2 replica(s), 3 are needed')
  expect(problem({ minInSync: 1 })).toMatch(/^min\.insync\.replicas is 1/)
  expect(problem({ unclean: true })).toMatch(/^unclean\.leader\.election\.enable is on/)
  expect(problem({ replicas: 1, minInSync: 1, unclean: true }, true)).toBeNull()
  expect(problem({ unclean: true }, true)).toMatch(/^unclean/)
})

test('a drain waits for committed positions, not for markers alone, and ends as soon as the intake moves', async () => {
  const ends: Record<string, number> = { events: 10, features: 12 }
  const committed: Record<string, number> = { processors: 6, inference: 4 }
  const said: string[] = []
  const clock = manualClock()
  let polls = 0
  let onPoll = (): void => {}
  const deps = {
    admin: {
      partitionCounts: async ([topic = '']: readonly string[]) => new Map([[topic, 1]]),
      committed: async (group: string) => new Map([[0, committed[group] ?? null]]),
    },
    logs: {
      range: async (topic: string) => ({ start: 0, end: ends[topic] ?? 0 }),
      // the last two offsets of features are markers
      read: async function* (topic: string, _partition: number, from: number) {
        yield { length: topic === 'features' ? Math.max(0, 10 - from) : 1 } as never
      },
    },
    clock: {
      ...clock,
      sleep: async (ms: number) => {
        clock.advance(ms)
        polls += 1
        onPoll()
      },
    },
    say: (line: string) => void said.push(line),
  }
  const readers = [
    { group: 'processors', topic: 'events' },
    { group: 'inference', topic: 'features' },
  ] as const
  onPoll = () => {
    if (polls === 3) committed['processors'] = 10
    if (polls === 8) committed['inference'] = 10
  }
  expect(await drain(deps, readers)).toEqual(new Map([[0, 10]]))
  expect(polls).toBe(8)
  expect(said).toEqual(['waiting   processors has 4 of events to go, inference has 8 of features to go'])

  polls = 0
  onPoll = () => {
    if (polls === 2) ends['events'] = 13
  }
  await expect(drain(deps, readers)).rejects.toMatchObject({
    code: 'events_still_written',
    message: expect.stringMatching(/^events\/0 has moved by 3 offset/),
  })
  expect(polls).toBe(2)
})

test('doctor finds brokers that let a writer go on after a later claim', async () => {
  let written = 0
  let deleted = ''
  const admin = {
    brokerCount: async () => 1,
    createTopic: async () => true,
    deleteTopic: async (topic: string) => {
      deleted = topic
    },
  }
  const partitions = [{ partition: 0, leader: 1, leaderEpoch: 0, replicas: [1], inSync: [1] }]
  const connections = {
    topics: async ([name = '']: readonly string[]) => new Map([[name, { name, id: 'id', partitions }]]),
  }
  const reader = {
    range: async () => ({ start: 0, end: written }),
    read: async function* () {
      yield { length: written } as never
    },
  }
  const fenced = (): Promise<string> => Promise.reject(retryable('lane_fenced', 'another writer'))
  const accepted = async (): Promise<string> => `${++written}`
  const findingFor = async (zombieWrite: () => Promise<string>) => {
    written = 0
    const writes = [zombieWrite, accepted]
    const createClaims = (): LaneClaims => {
      const write = writes.shift() ?? accepted
      return { claim: async () => ({ write }) as unknown as LaneWriter, room: () => null, close: async () => {} }
    }
    return await checkFencing('fencing', { admin, connections, reader, createClaims })
  }
  expect(await findingFor(fenced)).toEqual([expect.objectContaining({ ok: true })])
  expect(await findingFor(accepted)).toEqual([
    expect.objectContaining({ ok: false, detail: expect.stringMatching(/was acknowledged, 2 of 2 records landed/) }),
  ])
  expect(deleted).toMatch(/^millrace\.doctor-/)
})
