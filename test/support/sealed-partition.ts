import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import { createSpareMemory } from '../../infra/runtime/spare-memory.ts'
import { type CheckedResult, unstored } from '../../sinks/clickhouse/sealed/check-row.ts'
import type { ChunkLimits } from '../../sinks/clickhouse/sealed/chunk.ts'
import { createInsertPace } from '../../sinks/clickhouse/sealed/insert-pace.ts'
import type { LaneLetters } from '../../sinks/clickhouse/sealed/lane-letters.ts'
import { decodeMetadata } from '../../sinks/clickhouse/sealed/pend.ts'
import { createRecordQueue } from '../../sinks/clickhouse/sealed/record-queue.ts'
import { type SealedLane, startSealedLane } from '../../sinks/clickhouse/sealed/sealed-lane.ts'
import type { SealedSinkObserver } from '../../sinks/clickhouse/sealed/sealed-observer.ts'
import { manualClock } from './manual-clock.ts'
import { memoryBatch } from './memory-kafka.ts'
import type { MemoryTable } from './memory-table.ts'

/** A partition with what outlives its owners: the log, what the group has committed, the dead letters. */
export interface SealedPartition {
  /** Values: `row`, `bad` (undecodable) or `wide` (belongs to another table partition). */
  readonly log: readonly string[]
  committed: { offset: number; metadata: string }
  /** Offsets of the records that dead letters were written of. */
  readonly letters: number[]
}

export function sealedPartition(log: readonly string[]): SealedPartition {
  return { log, committed: { offset: 0, metadata: '' }, letters: [] }
}

/** Of all owners in a process: what one gives back, the next uses. */
const SPARE = createSpareMemory(1_048_576)

export interface OwnerOptions {
  readonly table: MemoryTable
  /** Called before each request to Kafka or ClickHouse; what it throws is where this owner dies. */
  readonly step?: (what: string) => void
  readonly limits?: Partial<ChunkLimits>
  /** Records in one batch. */
  readonly batchRows?: number
  readonly observer?: Partial<SealedSinkObserver>
  readonly mayReject?: boolean
  /** As after `positions set`: rows up to there are in the table although nothing announces them. */
  readonly readBackBelow?: number
  readonly clock?: Clock
}

export interface Owner {
  readonly lane: SealedLane
  /** Hands out everything from the committed position on, or records up to `to`. */
  feed(to?: number): void
  readonly settled: number[]
  /** Where the partition was to be handed out again. */
  readonly rewound: number[]
  /** What the dead letters were told that everything has ended below. */
  readonly passed: number[]
  /** Below it everything has ended. */
  landed(): number
  lose(): void
}

/** Time that passes while others run. */
function yieldingClock(): Clock {
  const clock = manualClock()
  return {
    ...clock,
    async sleep(ms) {
      clock.advance(ms)
      await new Promise(setImmediate)
    },
  }
}

export const dies = (what: string) => fatal('killed', what)

/** An owner of the partition, from taking it over. */
export function takePartition(partition: SealedPartition, options: OwnerOptions): Owner {
  const { table, step = () => {}, batchRows = 3, mayReject = true } = options
  const clock = options.clock ?? yieldingClock()
  const { readBackBelow } = options
  const left = decodeMetadata(partition.committed.metadata, partition.committed.offset)
  const metadata = readBackBelow === undefined ? left : { ...left, readBackBelow }
  const position = partition.committed.offset
  const settled: number[] = []
  const rewound: number[] = []
  const passed: number[] = []
  let ours = true
  const alive = (what: string): boolean => {
    step(what)
    return ours
  }
  const known = new Set(partition.letters)
  const letters: LaneLetters = {
    mark: () => 'mark',
    resumeAt: position,
    ended: (offset) => known.has(offset),
    async write(rejected) {
      step('before letters')
      for (const { batch, index } of rejected) partition.letters.push(batch.offset(index))
      step('after letters')
    },
    async writeLost() {
      step('before lost letter')
      partition.letters.push(-1)
    },
    async passed(upTo) {
      passed.push(upTo)
    },
    async claimAgain() {
      step('claim again')
      for (const offset of partition.letters) known.add(offset)
    },
    async close() {},
  }
  const queue = createRecordQueue({
    reader: TEXT,
    check,
    ended: (offset) => mayReject && letters.ended(offset),
    mayReject,
  })
  const lane = startSealedLane(
    {
      topic: 'p.in',
      source: {
        generation: 'id',
        trusted: () => true,
        confirm: async () => alive('confirm'),
        async commit(_, offset, text) {
          if (!alive('before commit')) return false
          partition.committed = { offset, metadata: text }
          return alive('after commit')
        },
        rewind: (_, offset) => void rewound.push(offset),
        reach: () => {},
        settle(batch) {
          const end = batch.offset(batch.length - 1) + 1
          settled.push(end)
          const text = ours ? lane.metadata(end) : null
          if (text !== null) partition.committed = { offset: end, metadata: text }
        },
      },
      store: {
        ...table,
        async insert(body, name) {
          step('before insert')
          await table.insert(body, name)
          step('after insert')
        },
      },
      limits: { maxRows: 4, maxBytes: 10_000, lingerMs: 5, ...options.limits },
      pace: createInsertPace({ perSecond: 1_000_000, share: () => 1 }),
      memory: SPARE,
      native: null,
      retry: { baseMs: 1, maxMs: 2 },
      clock,
      observer: {
        settled: () => {},
        landed: () => {},
        retrying: () => {},
        deferred: () => {},
        stopped: () => {},
        passedOver: () => {},
        began: () => {},
        ...options.observer,
      },
      repairCommand: (_, to) => `go on at ${to}`,
    },
    { partition: 0, position, metadata, queue, letters: mayReject ? letters : null },
  )
  return {
    lane,
    settled,
    rewound,
    passed,
    landed: () => settled.at(-1) ?? position,
    feed(to = partition.log.length) {
      for (let from = position; from < to; from += batchRows) {
        lane.add(batchOf(partition.log, from, Math.min(from + batchRows, to)))
      }
    },
    lose() {
      ours = false
      void lane.end()
    },
  }
}

function batchOf(log: readonly string[], from: number, to: number): ColumnBatch {
  const records = log.slice(from, to).map((value) => ({ value: Buffer.from(value) }))
  return memoryBatch({ topic: 'p.in', partition: 0, offsets: records.map((_, at) => from + at), records })
}

const TEXT: AvroReader<string> = {
  prepare: async () => {},
  prepareIds: async () => {},
  writerSchema: () => null,
  decode: (value) => {
    const record = String(value)
    return record === 'bad'
      ? { ok: false, pending: false, reason: 'undecodable', message: 'bad' }
      : { ok: true, record, schemaId: 1 }
  },
}

function check(record: string, batch: ColumnBatch, index: number): CheckedResult {
  if (record === 'misfit') return { kind: 'rejection', rejection: unstored('value_out_of_range', 'a', { tenant: 't' }) }
  const values = { kafka_partition: 0, kafka_offset: batch.offset(index) }
  const tablePartition = record === 'wide' ? 1 : 0
  return { kind: 'row', row: { values, origin: { tenant: 't' }, tablePartition, time: null, latencyMs: null } }
}
