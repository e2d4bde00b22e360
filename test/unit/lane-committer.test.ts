import { expect, test } from 'vitest'
import { fatal, type MillraceError, retryable } from '../../infra/runtime/errors.ts'
import type { KafkaConnections } from '../../infra/runtime/kafka/connections/connections.ts'
import { createCommitter } from '../../infra/runtime/kafka/consumer/committer.ts'
import { type OwnedLane, ownedLane } from '../../infra/runtime/kafka/consumer/owned-lane.ts'
import type { BrokerError } from '../../infra/runtime/kafka/protocol/error-codes.ts'
import type { KafkaRequest } from '../../infra/runtime/kafka/protocol/request.ts'
import { wireReader } from '../../infra/runtime/kafka/protocol/wire.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { manualClock } from '../support/manual-clock.ts'

type Answer = BrokerError | null | Error | Promise<BrokerError | null>

function flowing(partition: number, settled: number): OwnedLane {
  const lane = ownedLane('t', partition, 'id', 0)
  lane.state = 'flowing'
  lane.records.begin(settled)
  return lane
}

/** The commits that arrive, as `generation partition@offset metadata`, each answered for all its partitions. */
function committerOf(answers: Answer[], metadata?: (partition: number, offset: number) => string | null) {
  const commits: string[][] = []
  const refused: string[] = []
  const failures: MillraceError[] = []
  const group = { generation: 1, syncing: null as Promise<void> | null }
  const connections = {
    coordinator: async () => 1,
    forgetCoordinator: () => {},
    async send(_: number, __: string, request: KafkaRequest<unknown>) {
      const { lines, partitions } = read(request.body)
      commits.push(lines)
      const answer = answers.length === 0 ? null : answers.shift()
      if (answer instanceof Error) throw answer
      const error = await answer
      return new Map(partitions.map((partition) => [partition, error]))
    },
  } as unknown as KafkaConnections
  const committer = createCommitter({
    connections,
    clock: manualClock(),
    logger: silentLogger,
    topic: 't',
    membership: {
      identity: () => ({ group: 'g', generation: group.generation, member: 'm', instance: null }),
      synced: () => group.syncing ?? Promise.resolve(),
      told(error) {
        // the join that it came into has ended
        if (error === 'ILLEGAL_GENERATION') group.generation++
        if (error === 'NOT_COORDINATOR') throw retryable('kafka_unavailable', error)
        if (error === 'GROUP_AUTHORIZATION_FAILED') throw fatal('kafka_refused', error)
      },
    },
    metadata,
    onRefused: ({ error, partitions }) => refused.push(`${error} ${partitions}`),
    onFailed: (error) => failures.push(error as MillraceError),
    onUnknownTopic: () => refused.push('unknown topic'),
  })
  return { committer, commits, refused, failures, group }
}

function read(body: Buffer): { lines: string[]; partitions: number[] } {
  const reader = wireReader(body, 'OffsetCommit')
  reader.string()
  const generation = reader.int32()
  reader.string()
  reader.string()
  const topics = reader.array(() => {
    reader.string()
    return reader.array(() => {
      const partition = reader.int32()
      const offset = reader.int64()
      reader.int32()
      return { partition, line: `${generation} ${partition}@${offset} ${reader.string()}`.trimEnd() }
    })
  })
  return { lines: topics.flat().map(({ line }) => line), partitions: topics.flat().map(({ partition }) => partition) }
}

test('what was settled is committed once, all partitions together', async () => {
  const { committer, commits } = committerOf([], (partition, offset) => `m${partition}-${offset}`)
  const lanes = [flowing(0, 5), flowing(1, 7)]
  await committer.commitSettled(lanes)
  await committer.commitSettled(lanes)
  expect(commits).toEqual([['1 0@5 m0-5', '1 1@7 m1-7']])
  expect(lanes.map(({ committed }) => committed)).toEqual([5, 7])
})

test('what its owner commits by itself is left alone', async () => {
  const { committer, commits } = committerOf([], () => null)
  const lane = flowing(0, 5)
  expect(await committer.commit(lane, 3, 'sealed')).toBe(true)
  await committer.commitSettled([lane])
  expect(commits).toEqual([['1 0@3 sealed']])
})

test('commits of a partition are made one after the other, those of others go together', async () => {
  const slow = Promise.withResolvers<null>()
  const { committer, commits } = committerOf([slow.promise])
  const [zero, one] = [flowing(0, 5), flowing(1, 7)]
  const done = [
    committer.commitSettled([zero]),
    committer.commit(zero, 6, 'a'),
    committer.commit(zero, 7, 'b'),
    committer.commit(one, 8, 'c'),
  ]
  slow.resolve(null)
  await Promise.all(done)
  expect(commits).toEqual([['1 0@5', '1 1@8 c'], ['1 0@6 a'], ['1 0@7 b']])
})

test('a commit that came between two generations is made again in the new one', async () => {
  const { committer, commits, refused } = committerOf(['ILLEGAL_GENERATION'])
  expect(await committer.commit(flowing(0, 5), 5, 'x')).toBe(true)
  expect([commits, refused]).toEqual([[['1 0@5 x'], ['2 0@5 x']], ['ILLEGAL_GENERATION 0']])
})

test('before the assignment of a generation is known a commit waits', async () => {
  const { committer, commits, group } = committerOf([])
  const syncing = Promise.withResolvers<void>()
  group.syncing = syncing.promise
  const done = committer.commit(flowing(0, 5), 5, '')
  await new Promise((resolve) => setImmediate(resolve))
  expect(commits).toEqual([])
  syncing.resolve()
  expect([await done, commits]).toEqual([true, [['1 0@5']]])
})

test('a partition that is lost meanwhile is not committed any more', async () => {
  const { committer, commits } = committerOf(['UNKNOWN_MEMBER_ID'])
  const lane = flowing(0, 5)
  const done = committer.commit(lane, 5, '')
  lane.state = 'lost'
  expect(await done).toBe(false)
  expect(await committer.commit(lane, 6, '')).toBe(false)
  expect(commits.length).toBeLessThanOrEqual(1)
})

test.each([
  ['a coordinator that moved', 'NOT_COORDINATOR'],
  ['a topic that is not known yet', 'UNKNOWN_TOPIC_OR_PARTITION'],
  ['a connection that broke', retryable('kafka_unavailable', 'gone')],
] as const)('%s: again, until it is taken', async (_, answer) => {
  const { committer, commits, failures } = committerOf([answer, answer])
  expect(await committer.commit(flowing(0, 5), 5, '')).toBe(true)
  expect([commits.length, failures]).toEqual([3, []])
})

test.each([
  ['OFFSET_METADATA_TOO_LARGE', 'commit_refused'],
  ['GROUP_AUTHORIZATION_FAILED', 'kafka_refused'],
] as const)('%s ends the source', async (answer, code) => {
  const { committer, failures } = committerOf([answer])
  const lane = flowing(0, 5)
  expect(await committer.commit(lane, 5, '')).toBe(false)
  expect([failures.map((error) => error.code), await committer.commit(lane, 5, '')]).toEqual([[code], false])
})
