import { killPoint } from '#kill-points'
import type { Clock } from '../../clock.ts'
import { fatal, MillraceError, retryable } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { KafkaConnections, TopicMetadata } from '../connections/connections.ts'
import { type Committed, SET_BY_HAND } from '../consumer/lane-source.ts'
import type { LogRange, LogReader } from '../log-reader.ts'
import { createBatchSender } from '../producer/batch-sender.ts'
import { type Compression, preferredCompression } from '../record-batches/codecs/compression.ts'
import { type OwnedPartition, ownPartition } from './claim-epoch.ts'
import { type CommitMetadata, type NotedLog, parseCommitMetadata } from './commit-metadata.ts'
import { createFenceExpiry } from './fence-expiry.ts'
import { createFencing, type FencedPartition } from './fencing.ts'
import { countsFor, notedOf, targetsOf } from './lane-scope.ts'
import { type DeadLetterCoordinates, planTail } from './lane-tail.ts'
import type { Coordinates, LaneClaims, LaneTopics, LaneWriter } from './lane-writer.ts'
import { type OwnedLog, openOwnedLane } from './owned-lane.ts'
import { readDeadLetters, readLastOutput, type TailDecoders } from './read-tails.ts'

export interface LaneClaimsOptions {
  readonly connections: KafkaConnections
  readonly logReader: LogReader
  readonly clock: Clock
  readonly logger: Logger
  /** As in the stage's dead letters. */
  readonly stage: string
  readonly readTail: TailDecoders
  /** The command that makes a lane go on after somebody has looked at it; named in errors. */
  readonly repairCommand: (lane: LaneTopics) => string
  /** Asked before each send: false = the last good heartbeat is older than the session, and nothing may be sent. */
  readonly trusted: () => boolean
  /** By default LZ4, or none where its native package is not installed. */
  readonly compression?: Compression
  /** Encoded bytes of all lanes that are not acknowledged. Default 64 MiB. */
  readonly maxBytesInFlight?: number
  /** How long a batch is sent again before its outcome counts as unknown, ms. Default 30 s. */
  readonly deliveryTimeoutMs?: number
  /** How long brokers wait for the end of a fence whose claimer died, ms. Default 30 s. */
  readonly transactionTimeoutMs?: number
  /** After so long without a renewal a broker may forget a fence, ms. Default: asked of the brokers. */
  readonly fenceExpiryMs?: number
}

const REQUEST_TIMEOUT_MS = 10_000
const DELIVERY_TIMEOUT_MS = 30_000
const TRANSACTION_TIMEOUT_MS = 30_000
const MAX_BYTES_IN_FLIGHT = 67_108_864
/** What a claim may take until it is given up, and tried again by its caller. */
const PATIENCE_MS = 15_000
/** A fence is renewed so many times before it would be forgotten. */
const RENEWALS = 4

export function createLaneClaims(options: LaneClaimsOptions): LaneClaims {
  const { connections, logReader, clock, logger, readTail } = options
  const sender = createBatchSender({
    connections,
    clock,
    compression: options.compression ?? preferredCompression(),
    lingerMs: 0,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    deliveryTimeoutMs: options.deliveryTimeoutMs ?? DELIVERY_TIMEOUT_MS,
    maxBytesInFlight: options.maxBytesInFlight ?? MAX_BYTES_IN_FLIGHT,
    onRetry: (retry) => logger.debug(retry, 'a batch is sent again'),
  })
  const fencing = createFencing({
    connections,
    logReader,
    clock,
    transactionTimeoutMs: options.transactionTimeoutMs ?? TRANSACTION_TIMEOUT_MS,
    patienceMs: PATIENCE_MS,
  })
  const expiryOf = createFenceExpiry(connections, logger)
  const writers = new Set<LaneWriter>()
  const closing = new AbortController()

  async function claim(
    lane: LaneTopics,
    committed: Committed,
    confirm: () => Promise<boolean>,
    signal: AbortSignal,
  ): Promise<LaneWriter> {
    const claimedAt = clock.monotonic()
    const ids = await topicIds(lane)
    const noted = parseCommitMetadata(committed.metadata)
    requireSameTopics(lane, ids, noted)

    // who confirms first and is not the owner any more harms nobody
    await requireOwner(lane, confirm)
    const targets = targetsOf(lane)
    const bumped = await Promise.all(targets.map((target) => fencing.bumpEpoch(target, signal)))
    killPoint('during-claim')
    await requireOwner(lane, confirm)
    const owned = await Promise.all(
      targets.map((target, index) => ownPartition(fencing, target, bumped[index] as (typeof bumped)[0], signal)),
    )
    killPoint('between-fence-and-tail')

    const letters = owned.find(({ topic }) => topic === lane.deadLetters) as OwnedPartition
    const output = owned.find(({ topic }) => topic === lane.output) ?? null
    const counts = countsFor(lane, noted)
    const [last, deadLetters, renewEveryMs, inputStart] = await Promise.all([
      output === null ? null : outputTail(lane, committed, noted, output, signal),
      letterTail(lane, committed, noted?.deadLetters ?? null, counts, letters, signal),
      renewalMs(targets),
      counts ? 0 : rangeOf(lane.input, lane.partition, signal).then(({ start }) => start),
    ])
    const tail = planTail({
      stage: options.stage,
      input: lane.input,
      hasOutput: output !== null,
      committed: counts ? committed.offset : null,
      inputStart,
      last,
      deadLetters,
    })
    const log = (partition: OwnedPartition, end: number): OwnedLog => ({
      owned: partition,
      generation: idOf(ids, partition.topic),
      notedEnd: end,
    })
    // nobody would close it
    if (signal.aborted) throw givenUp(lane)
    const writer = openOwnedLane({
      lane,
      tail,
      last,
      output: output === null ? null : log(output, notedOf(output.topic, noted)?.end ?? 0),
      deadLetters: log(letters, noted?.deadLetters.end ?? 0),
      decoders: readTail,
      sender,
      fencing,
      logReader,
      clock,
      logger,
      trusted: options.trusted,
      renewEveryMs,
      claimedAt,
    })
    writers.add(writer)
    return {
      ...writer,
      close: async () => {
        writers.delete(writer)
        await writer.close()
      },
    }
  }

  async function topicIds(lane: LaneTopics): Promise<ReadonlyMap<string, TopicMetadata>> {
    const names = [lane.input.topic, lane.deadLetters, ...(lane.output === null ? [] : [lane.output])]
    const found = await connections.topics(names)
    for (const name of names) {
      if (found.get(name)?.partitions[lane.partition] === undefined) {
        throw fatal('unknown_topic', `${name} does not exist, or has no partition ${lane.partition}`)
      }
    }
    return found
  }

  function requireSameTopics(
    lane: LaneTopics,
    ids: ReadonlyMap<string, TopicMetadata>,
    noted: CommitMetadata | null,
  ): void {
    const require = (topic: string, generation: string): void => {
      if (idOf(ids, topic) === generation) return
      throw stopped(lane, 'topic_recreated', `${topic} was deleted and made again since the position was committed`)
    }
    require(lane.input.topic, lane.input.generation)
    if (noted === null) return
    require(lane.input.topic, noted.input)
    require(lane.deadLetters, noted.deadLetters.generation)
    const output = lane.output === null ? null : notedOf(lane.output, noted)
    if (output !== null) require(output.topic, output.generation)
  }

  async function outputTail(
    lane: LaneTopics,
    committed: Committed,
    metadata: CommitMetadata | null,
    { topic, partition, marker }: OwnedPartition,
    signal: AbortSignal,
  ): Promise<Coordinates | null> {
    const noted = notedOf(topic, metadata)
    if (noted !== null && marker < noted.end) {
      throw stopped(lane, 'output_truncated', `${topic}/${partition} ended at ${noted.end} and now ends at ${marker}`)
    }
    const { start, found: last } = await readTailOf(lane, { topic, partition }, signal, (start) =>
      readLastOutput(logReader, readTail, { topic, partition, start, marker }, signal),
    )
    if (last !== null || start <= (noted?.end ?? 0) || committed.metadata === SET_BY_HAND) return last
    // somebody else wrote, and committed with, another output: this one is not missed
    if (metadata?.skips.includes(topic)) return null
    // what was deleted may tell of records that were not committed; there are none if the position is the input's end
    const input = await rangeOf(lane.input, lane.partition, signal)
    if (countsFor(lane, metadata) && input.end <= committed.offset) return null
    throw stopped(lane, 'output_truncated', `${topic}/${partition} holds no record to tell how far it was written`)
  }

  async function letterTail(
    lane: LaneTopics,
    committed: Committed,
    noted: NotedLog | null,
    counts: boolean,
    { topic, partition, marker }: OwnedPartition,
    signal: AbortSignal,
  ): ReturnType<typeof readDeadLetters> {
    if (noted !== null && marker < noted.end) {
      throw stopped(lane, 'output_truncated', `${topic}/${partition} ended at ${noted.end} and now ends at ${marker}`)
    }
    // without an output only these can be met again; all letters of a topic over days would be too many to keep
    const matters = (letter: DeadLetterCoordinates): boolean =>
      lane.output !== null ||
      (letter.stage === options.stage &&
        letter.topic === lane.input.topic &&
        letter.sourceGeneration === lane.input.generation &&
        letter.sourceOffset >= committed.offset)
    // letters that were deleted since cannot be met again: whoever deleted them has seen them
    const from = counts ? (noted?.end ?? 0) : 0
    const { found } = await readTailOf(lane, { topic, partition }, signal, (start) => {
      const tail = { topic, partition, start: Math.max(from, start), marker }
      return readDeadLetters(logReader, readTail, tail, matters, signal)
    })
    return found
  }

  /** From the log's start, which retention may move before it is read: then from the one after, once. */
  async function readTailOf<T>(
    lane: LaneTopics,
    log: { readonly topic: string; readonly partition: number },
    signal: AbortSignal,
    read: (start: number) => Promise<T>,
  ): Promise<{ readonly start: number; readonly found: T }> {
    for (let attempt = 1; ; attempt++) {
      const { start } = await rangeOf(log, log.partition, signal)
      try {
        return { start, found: await read(start) }
      } catch (error) {
        if (!(error instanceof MillraceError)) throw error
        if (error.code === 'foreign_record') throw stopped(lane, 'foreign_record', error.message)
        if (error.code !== 'position_lost' || attempt > 1) throw error
      }
    }
  }

  function rangeOf({ topic }: { readonly topic: string }, partition: number, signal: AbortSignal): Promise<LogRange> {
    return logReader.range(topic, partition, undefined, signal)
  }

  async function renewalMs(targets: readonly FencedPartition[]): Promise<number> {
    if (options.fenceExpiryMs !== undefined) return options.fenceExpiryMs / RENEWALS
    const nodes = new Set<number>()
    for (const { topic, partition, transactionalId } of targets) {
      nodes.add(await connections.coordinator('transaction', transactionalId))
      const leader = connections.leaderOf(topic, partition)
      if (leader !== null) nodes.add(leader)
    }
    return (await expiryOf(nodes)) / RENEWALS
  }

  function stopped(lane: LaneTopics, code: string, what: string): Error {
    return fatal(
      code,
      `${what}; partition ${lane.partition} of ${lane.input.topic} stops: ${options.repairCommand(lane)}`,
    )
  }

  return {
    async claim(lane, committed, confirm, signal) {
      const either = AbortSignal.any([signal, closing.signal])
      const given = Promise.withResolvers<never>()
      const giveUp = (): void => {
        given.reject(givenUp(lane))
      }
      either.addEventListener('abort', giveUp)
      try {
        // a broker that is away must not hold up whoever gives up
        return await Promise.race([claim(lane, committed, confirm, either), given.promise])
      } finally {
        either.removeEventListener('abort', giveUp)
      }
    },
    room: () => sender.room(),
    async close() {
      closing.abort()
      await Promise.all(Array.from(writers, (writer) => writer.close()))
      sender.close()
    },
  }
}

function givenUp({ input, partition }: LaneTopics): Error {
  return retryable('lane_lost', `the claim of ${input.topic}/${partition} was given up`)
}

async function requireOwner({ partition, input }: LaneTopics, confirm: () => Promise<boolean>): Promise<void> {
  if (!(await confirm()))
    throw retryable('lane_lost', `partition ${partition} of ${input.topic} went to another member`)
}

function idOf(topics: ReadonlyMap<string, TopicMetadata>, name: string): string {
  return topics.get(name)?.id ?? ''
}
