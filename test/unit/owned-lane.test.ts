import { expect, test } from 'vitest'
import type { Clock } from '../../infra/runtime/clock.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { parseCommitMetadata } from '../../infra/runtime/kafka/exactly-once/commit-metadata.ts'
import { readCoordinates } from '../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { type FoundDeadLetter, planTail } from '../../infra/runtime/kafka/exactly-once/lane-tail.ts'
import type { LaneWriter } from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { openOwnedLane } from '../../infra/runtime/kafka/exactly-once/owned-lane.ts'
import type { SequencedPartition } from '../../infra/runtime/kafka/producer/sequenced-partition.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { deadLetterCoordinates, outputRecords } from '../support/lanes-on-kafka.ts'

// How the owner of a lane keeps its fence.

const INPUT = { topic: 'events', generation: '0a0a0a0a-0000-0000-0000-000000000000' }
const RENEW_EVERY_MS = 1_000

interface Lane {
  readonly writer: LaneWriter
  /** What was done, in order. */
  readonly done: string[]
  /** Time passes; `wake` = whoever slept goes on. */
  pass(ms: number, wake: boolean): Promise<void>
}

interface LaneSettings {
  readonly renew?: () => Promise<void>
  readonly hasOutput?: boolean
  readonly deadLetters?: readonly FoundDeadLetter[]
  readonly logEnd?: number
}

function laneWith({ renew = async () => {}, hasOutput = true, deadLetters = [], logEnd = 6 }: LaneSettings = {}): Lane {
  const done: string[] = []
  let at = 0
  let wakers: (() => void)[] = []
  const clock: Clock = {
    now: () => at,
    monotonic: () => at,
    sleep: (_ms, signal) =>
      new Promise((resolve) => {
        wakers.push(resolve)
        signal?.addEventListener('abort', () => resolve())
      }),
  }
  const open = ({ topic }: { readonly topic: string }): SequencedPartition => ({
    bytesInFlight: 0,
    ended: false,
    end: () => void done.push(`end ${topic}`),
    alone: () => void done.push(`alone ${topic}`),
    append: async () => {
      done.push(`append ${topic}`)
      return { baseOffset: 10, appendedAt: -1 }
    },
  })
  const log = (topic: string) => ({
    owned: { transactionalId: topic, topic, partition: 0, producer: { id: 1n, epoch: 1 }, marker: 5 },
    generation: topic,
    notedEnd: 0,
  })
  const tail = planTail({
    stage: 'processors',
    input: INPUT,
    hasOutput,
    committed: 0,
    inputStart: 0,
    last: null,
    deadLetters,
  })
  const writer = openOwnedLane({
    lane: { partition: 0, input: INPUT, output: hasOutput ? 'out' : null, deadLetters: 'dl' },
    tail,
    last: null,
    output: hasOutput ? log('out') : null,
    deadLetters: log('dl'),
    decoders: { outputCoordinates: readCoordinates, deadLetterCoordinates },
    sender: { open, room: () => null, close: () => {} },
    fencing: {
      bumpEpoch: async () => ({ id: 1n, epoch: 1 }),
      fence: async () => 0,
      renew: async ({ topic }) => {
        done.push(`renew ${topic}`)
        await renew()
      },
    },
    logReader: {
      range: async () => ({ start: 0, end: logEnd }),
      waitForEnd: async () => ({ start: 0, end: 6 }),
      async *read() {},
    },
    clock,
    logger: silentLogger,
    trusted: () => true,
    renewEveryMs: RENEW_EVERY_MS,
    claimedAt: 0,
  })
  return {
    writer,
    done,
    async pass(ms, wake) {
      at += ms
      if (wake) for (const resolve of wakers.splice(0)) resolve()
      else wakers = []
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

const write = (lane: Lane, offset: number): Promise<string> =>
  lane.writer.write(null, outputRecords(INPUT.generation, [offset]), offset + 1)

test('both fences are renewed at each interval, and writes go on as before', async () => {
  const lane = laneWith()
  await lane.pass(RENEW_EVERY_MS, true)
  expect(lane.done.splice(0)).toEqual(['renew dl', 'renew out'])
  await lane.pass(RENEW_EVERY_MS / 2, true)
  expect(lane.done).toEqual([])
  await write(lane, 0)
  expect(lane.done).toEqual(['append out'])
})

test('after a stop that was longer, the fence is renewed before anything is written, and the first batch goes alone', async () => {
  const lane = laneWith()
  await write(lane, 0)
  lane.done.length = 0
  await lane.pass(3 * RENEW_EVERY_MS, false)
  await Promise.all([write(lane, 1), write(lane, 2)])
  expect(lane.done).toEqual(['renew dl', 'renew out', 'alone dl', 'alone out', 'append out', 'append out'])
})

test('who finds its fence taken writes nothing more; who cannot ask tries again', async () => {
  let answer = retryable('kafka_unavailable', 'away')
  const lane = laneWith({
    renew: async () => {
      throw answer
    },
  })
  await lane.pass(RENEW_EVERY_MS, true)
  await write(lane, 0)
  answer = retryable('lane_fenced', 'taken')
  await lane.pass(RENEW_EVERY_MS / 2, true)
  await expect(write(lane, 1)).rejects.toMatchObject({ code: 'lane_fenced', fate: 'retry' })
  expect(lane.done.filter((step) => step.startsWith('append'))).toEqual(['append out'])
})

test('what cannot be renewed before a write is not written', async () => {
  const lane = laneWith({
    renew: async () => {
      throw retryable('kafka_unavailable', 'away')
    },
  })
  await lane.pass(3 * RENEW_EVERY_MS, false)
  await expect(write(lane, 0)).rejects.toMatchObject({ code: 'kafka_unavailable', fate: 'retry' })
  expect(lane.done.some((step) => step.startsWith('append'))).toBe(false)
})

test('a lane without an output notes how far its dead letters tell of what has ended, although it writes none', async () => {
  const letter = {
    topic: INPUT.topic,
    stage: 'processors',
    endsEvent: false,
    sourceGeneration: INPUT.generation,
    sourceOffset: 7,
    originGeneration: '',
    originOffset: -1,
  }
  const lane = laneWith({ hasOutput: false, deadLetters: [{ offset: 3, letter }], logEnd: 900 })
  const noted = async (upTo: number) =>
    parseCommitMetadata(await lane.writer.write(null, null, upTo))?.deadLetters.end ?? -1
  await lane.pass(RENEW_EVERY_MS, true)
  // the letter of offset 7 is to be found again until its record is passed
  expect([await noted(4), await noted(7), await noted(8)]).toEqual([3, 3, 900])
})
