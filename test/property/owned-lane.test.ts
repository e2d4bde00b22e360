import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { MillraceError } from '../../infra/runtime/errors.ts'
import { parseCommitMetadata } from '../../infra/runtime/kafka/exactly-once/commit-metadata.ts'
import { readCoordinates } from '../../infra/runtime/kafka/exactly-once/coordinates.ts'
import { planTail } from '../../infra/runtime/kafka/exactly-once/lane-tail.ts'
import type { LaneTopics, LaneWriter } from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { openOwnedLane } from '../../infra/runtime/kafka/exactly-once/owned-lane.ts'
import { readDeadLetters, readLastOutput } from '../../infra/runtime/kafka/exactly-once/read-tails.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import type { BatchSender } from '../../infra/runtime/kafka/producer/batch-sender.ts'
import { outgoingColumns } from '../../infra/runtime/kafka/producer/outgoing-columns.ts'
import { sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { deadLetterCoordinates, deadLetterRecords, outputRecords } from '../support/lanes-on-kafka.ts'
import { seededRandom } from '../support/seeded-random.ts'

// A lane whose writer crashes at any step, with several writes on their way: every record ends once, whatever is decided again.

const INPUT = '0a0a0a0a-0000-0000-0000-000000000000'
const LANE: LaneTopics = {
  partition: 0,
  input: { topic: 'events', generation: INPUT },
  output: 'features',
  deadLetters: 'dead-letters',
}
const MOST_ON_THEIR_WAY = 3
const DECODERS = { outputCoordinates: readCoordinates, deadLetterCoordinates }

/** Null = a marker. */
type Log = (Buffer | null)[]

interface Pending {
  readonly log: Log
  readonly values: readonly Buffer[]
  land(baseOffset: number): void
}

function sleeplessClock(): Clock {
  return {
    now: () => 0,
    monotonic: () => 0,
    sleep: (_ms, signal) => new Promise((resolve) => signal?.addEventListener('abort', () => resolve())),
  }
}

/** Keeps what is appended on its way until the test lets it land. */
function heldSender(logs: ReadonlyMap<string, Log>, pending: Pending[]): BatchSender {
  return {
    room: () => null,
    close: () => {},
    open: ({ topic }) => {
      let ended: MillraceError | null = null
      return {
        bytesInFlight: 0,
        get ended() {
          return ended !== null
        },
        alone: () => {},
        end: (error) => {
          ended ??= error
        },
        append: (records) =>
          new Promise((resolve, reject) => {
            if (ended !== null) return reject(ended)
            const values = Array.from({ length: records.length }, (_, row) => sliceAt(records.values, row) as Buffer)
            const land = (baseOffset: number): void => resolve({ baseOffset, appendedAt: -1 })
            pending.push({ log: logs.get(topic) as Log, values, land })
          }),
      }
    },
  }
}

function readerOf(logs: ReadonlyMap<string, Log>): LogReader {
  const of = (topic: string): Log => logs.get(topic) as Log
  const range: LogReader['range'] = async (topic) => ({ start: 0, end: of(topic).length })
  return {
    range,
    waitForEnd: (topic, partition) => range(topic, partition),
    async *read(topic, _partition, from, to) {
      const rows = of(topic)
        .slice(from, to)
        .flatMap((value, index) => (value === null ? [] : [{ value, offset: from + index }]))
      const columns = outgoingColumns(
        rows.map(({ value }) => ({ key: null, value })),
        0,
      )
      const offsets = Float64Array.from(rows, ({ offset }) => offset)
      yield { ...columns, offsets, timestamps: offsets, headers: columns.keys, markers: [], nextOffset: to }
    },
  }
}

const letter = (offset: number) => ({ topic: 'events', source_generation: INPUT, source_offset: offset })

/** What happens next: a choice in [0, 1). */
type Choose = () => number

async function run(
  records: number,
  crashes: number,
  choose: Choose,
): Promise<{ readonly ended: number[]; readonly outputs: number[] }> {
  const logs = new Map<string, Log>([
    ['features', []],
    ['dead-letters', []],
  ])
  let committed = { offset: 0, metadata: '' }
  for (let crash = 0; crash <= crashes; crash++) {
    const pending: Pending[] = []
    const writer = await claim(logs, pending, committed)
    const isLast = crash === crashes
    let next = writer.tail.resumeAt
    let onTheirWay = 0
    let failed: unknown = null
    while (next < records || (isLast && onTheirWay > 0)) {
      if (!isLast && choose() < 0.05) break
      if (next < records && onTheirWay < MOST_ON_THEIR_WAY && choose() < 0.6) {
        const upTo = Math.min(records, next + 1 + Math.floor(choose() * 4))
        const rows = Array.from({ length: upTo - next }, (_, index) => next + index).filter(
          (row) => !isEnded(writer, row),
        )
        const letters = rows.filter(() => choose() < 0.3)
        const outputs = rows.filter((row) => !letters.includes(row))
        next = upTo
        onTheirWay++
        writer
          .write(
            letters.length === 0 ? null : deadLetterRecords(letters.map(letter)),
            outputs.length === 0 ? null : outputRecords(INPUT, outputs),
            upTo,
          )
          .then((metadata) => {
            onTheirWay--
            // commits are made now and then, each with the position it belongs to
            if (choose() < 0.5) committed = { offset: upTo, metadata }
          })
          .catch((error) => {
            failed = error
          })
      } else landOne(pending, choose)
      await new Promise((resolve) => setImmediate(resolve))
      if (failed !== null) throw failed
    }
    // of what is on its way at a crash, the broker gets the first ones of each log
    while (!isLast && pending.length > 0 && choose() < 0.5) landUnanswered(pending, choose)
  }
  const offsets = (topic: string, read: (value: Buffer) => { readonly sourceOffset: number } | null): number[] =>
    (logs.get(topic) as Log).flatMap((value) => (value === null ? [] : [read(value)?.sourceOffset ?? -1]))
  const outputs = offsets('features', readCoordinates)
  return { outputs, ended: [...outputs, ...offsets('dead-letters', deadLetterCoordinates)].sort((a, b) => a - b) }
}

function isEnded({ tail }: LaneWriter, row: number): boolean {
  const asked = tail.askBelow !== null && (row < tail.askBelow.source || row < tail.askBelow.origin)
  return asked && tail.ended(row, null)
}

/** The oldest of one log; batches of another may overtake it. */
function takeOne(pending: Pending[], choose: Choose): Pending | null {
  const picked = pending[Math.floor(choose() * pending.length)]
  const oldest = pending.findIndex(({ log }) => log === picked?.log)
  return oldest < 0 ? null : (pending.splice(oldest, 1)[0] ?? null)
}

function landOne(pending: Pending[], choose: Choose): void {
  const batch = takeOne(pending, choose)
  if (batch === null) return
  const base = batch.log.length
  batch.log.push(...batch.values)
  batch.land(base)
}

function landUnanswered(pending: Pending[], choose: Choose): void {
  const batch = takeOne(pending, choose)
  batch?.log.push(...batch.values)
}

async function claim(
  logs: ReadonlyMap<string, Log>,
  pending: Pending[],
  committed: { readonly offset: number; readonly metadata: string },
): Promise<LaneWriter> {
  const logReader = readerOf(logs)
  const { signal } = new AbortController()
  const noted = parseCommitMetadata(committed.metadata)
  const owned = ['features', 'dead-letters'].map((topic) => {
    const marker = (logs.get(topic) as Log).push(null) - 1
    const producer = { id: 1n, epoch: 1 }
    return { owned: { transactionalId: topic, topic, partition: 0, producer, marker }, generation: topic }
  })
  const [output, letters] = owned as [(typeof owned)[0], (typeof owned)[0]]
  const last = await readLastOutput(logReader, DECODERS, { ...output.owned, start: 0 }, signal)
  const start = noted?.deadLetters.end ?? 0
  const found = await readDeadLetters(logReader, DECODERS, { ...letters.owned, start }, () => true, signal)
  const tail = planTail({
    stage: 'processors',
    input: LANE.input,
    hasOutput: true,
    committed: committed.offset,
    inputStart: 0,
    last,
    deadLetters: found,
  })
  return openOwnedLane({
    lane: LANE,
    tail,
    last,
    output: { ...output, notedEnd: noted?.output?.end ?? 0 },
    deadLetters: { ...letters, notedEnd: start },
    decoders: DECODERS,
    sender: heldSender(logs, pending),
    fencing: {
      bumpEpoch: async () => ({ id: 1n, epoch: 1 }),
      fence: async () => 0,
      renew: async () => {},
    },
    logReader,
    clock: sleeplessClock(),
    logger: silentLogger,
    trusted: () => true,
    renewEveryMs: 1_000,
    claimedAt: 0,
  })
}

test('every record ends once and in order, however often the writer crashes and decides otherwise', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer(),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 0, max: 6 }),
      async (seed, records, crashes) => {
        const { ended, outputs } = await run(records, crashes, seededRandom(seed).next)
        expect(ended).toEqual(Array.from({ length: records }, (_, offset) => offset))
        expect(outputs).toEqual(outputs.toSorted((a, b) => a - b))
      },
    ),
    { numRuns: 1_000 },
  )
})
