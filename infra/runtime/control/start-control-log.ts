import type { ControlEntry } from '../../../schemas/generated/records.ts'
import { CONTROL_TOPIC } from '../../../schemas/topics.ts'
import { type AvroReader, createAvroReader } from '../avro/avro-reader.ts'
import { type Backoff, backoffMs } from '../backoff.ts'
import { describeError, fatal, fateOf, retryable } from '../errors.ts'
import { sliceAt } from '../kafka/record-batches/columns.ts'
import type { RecordSet } from '../kafka/record-batches/decode-record-set.ts'
import type { Started } from '../lifecycle/scope.ts'
import { readContract, registerContract } from '../stage-contracts.ts'
import type { StageContext } from '../stage-process.ts'
import type { ControlLog } from './control-log.ts'
import { type ControlLogFeed, createControlLog } from './create-control-log.ts'

export interface ControlLogDeps
  extends Pick<StageContext, 'brokers' | 'log' | 'writer' | 'registry' | 'clock' | 'logger'> {
  /** Default: the one topic of all pipelines. */
  readonly topic?: string
  /** Without an answer for so long, the log is said not to be readable. Default 5 s. */
  readonly patienceMs?: number
}

export interface FollowedControlLog extends ControlLog {
  /** Entries without effect that were read so far: late, forged, unreadable. */
  readonly passedOver: number
  /** Rejects when the log cannot be followed any more; resolves after `stop`. */
  readonly ended: Promise<void>
  /** Null while the log can be read; otherwise since when it cannot, and why. */
  problem(): string | null
  /** When it was last asked for its end and then read to it, epoch ms: what was written later may not be known here. */
  readonly readAt: number
}

const PARTITION = 0
const PATIENCE_MS = 5_000
/** How soon somebody else's entry is seen; our own are looked for at once. */
const LOOK_MS = 200
const BACKOFF: Backoff = { baseMs: 100, maxMs: 5_000 }
/** A record whose schema the registry does not know holds up what is behind it for so long: it may be a replica that is late. */
const UNKNOWN_SCHEMA_WAIT_MS = 10_000

/**
 * Reads the whole log before it resolves, then follows it. Rejects with `unknown_topic` and `control_log_truncated` (crash:
 * the log has lost its beginning, and with it what is in force), and with `retry` while brokers or registry are away.
 */
export async function startControlLog(deps: ControlLogDeps): Promise<Started<FollowedControlLog>> {
  const { brokers, log, writer, registry, clock, logger, topic = CONTROL_TOPIC, patienceMs = PATIENCE_MS } = deps
  const generation = await topicId()
  if (generation === null) throw fatal('unknown_topic', `topic ${topic} does not exist: run millrace topics`)
  const { type, schemaId } = await registerContract(deps, 'control-entry', topic)
  const reader = createAvroReader<ControlEntry>({
    schema: await readContract('control-entry'),
    name: 'control entry',
    registry,
    clock,
    unknownSchemaWaitMs: UNKNOWN_SCHEMA_WAIT_MS,
  })
  const stopping = new AbortController()
  const { signal } = stopping
  let wake = new AbortController()
  let position = 0
  /** Epoch ms. */
  let readAt = clock.now()
  let problem: string | null = null

  const feed = createControlLog({
    clock,
    logger,
    async write(entry) {
      const records = [{ key: Buffer.from(`${entry.kind}/${entry.name}`), value: type.encode(schemaId, entry) }]
      const [written] = await writer.write([{ topic, partition: PARTITION, records }])
      wake.abort()
      return written?.baseOffset ?? Number.NaN
    },
  })

  async function topicId(): Promise<string | null> {
    return (await brokers.topics([topic])).get(topic)?.id ?? null
  }

  /** Reads what has come since. Rejects with `retry` when nothing is answered for `patienceMs`: the log itself asks for ever. */
  async function read(): Promise<void> {
    const askedAt = clock.now()
    const patience = new AbortController()
    const giveUp = (): void => patience.abort()
    signal.addEventListener('abort', giveUp)
    let timer = setTimeout(giveUp, patienceMs)
    try {
      const range = await log.range(topic, PARTITION, 'read_uncommitted', patience.signal)
      if (range.start > 0) {
        throw fatal('control_log_truncated', `${topic} begins at offset ${range.start}: entries were deleted`)
      }
      if (range.end < position || (range.end > position && (await topicId()) !== generation)) {
        throw fatal('topic_recreated', `${topic} was deleted and made again, or was cut off behind what is in force`)
      }
      for await (const set of log.read(topic, PARTITION, position, range.end, { signal: patience.signal })) {
        clearTimeout(timer)
        await hand(set, reader, feed, async () => {
          await clock.sleep(LOOK_MS, signal)
          if (signal.aborted) throw retryable('control_log_stopped', 'the control log is not followed any more')
        })
        position = set.nextOffset
        timer = setTimeout(giveUp, patienceMs)
      }
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', giveUp)
    }
    readAt = askedAt
  }

  function sayUnreadable(error: unknown): void {
    const { code, message } = describeError(error)
    const since = new Date(readAt).toISOString()
    if (problem === null) logger.warn({ code, message, since }, 'the control log cannot be read')
    problem = `the control log cannot be read since ${since}: ${message}`
  }

  function sayReadable(): void {
    if (problem !== null) logger.info({ revision: feed.log.revision }, 'the control log can be read again')
    problem = null
  }

  await read()

  async function follow(): Promise<void> {
    for (let attempt = 0; !signal.aborted; ) {
      await clock.sleep(attempt === 0 ? LOOK_MS : backoffMs(BACKOFF, attempt), wake.signal)
      // set anew before the log is looked at: what is written from here on is looked for again
      if (wake.signal.aborted && !signal.aborted) wake = new AbortController()
      if (signal.aborted) return
      try {
        await read()
        sayReadable()
        attempt = 0
      } catch (error) {
        if (signal.aborted) return
        if (fateOf(error) !== 'retry') throw error
        attempt += 1
        sayUnreadable(error)
      }
    }
  }

  const ended = follow()
  ended.catch((error: unknown) => feed.end(error as Error))
  const { latest, all, append, watch } = feed.log
  return {
    value: {
      get revision() {
        return feed.log.revision
      },
      get passedOver() {
        return feed.passedOver
      },
      problem: () => problem,
      get readAt() {
        return readAt
      },
      ...{ latest, all, append, watch, ended },
    },
    async stop() {
      stopping.abort()
      wake.abort()
      await ended.catch(() => {})
      feed.end(retryable('control_log_stopped', 'the control log is not followed any more'))
    },
  }
}

/** All records of the set, in order; waits for schemas that the registry may still come to know. */
async function hand(
  set: RecordSet,
  reader: AvroReader<ControlEntry>,
  feed: ControlLogFeed,
  pause: () => Promise<void>,
): Promise<void> {
  const values = Array.from({ length: set.length }, (_, row) => sliceAt(set.values, row))
  // nothing is handed over before everything can be: a set that is read again would be applied again
  for (;;) {
    await reader.prepare(values)
    const pending = values.some((value) => {
      const decoded = reader.decode(value)
      return !decoded.ok && decoded.pending
    })
    if (!pending) break
    await pause()
  }
  for (const [row, value] of values.entries()) {
    const decoded = reader.decode(value)
    feed.read(set.offsets[row] as number, decoded.ok ? decoded.record : null)
  }
}
