import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { KafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import type { LogReader } from '../../infra/runtime/kafka/log-reader.ts'
import { consumerGroup, stageTopic } from '../../schemas/topics.ts'
import { type EndedEvents, readEnds, readLastOrigins } from './event-ends.ts'

/** What a check has found beyond the one before. */
export interface LightFindings {
  readonly predicted: number
  readonly deadLettered: number
  /** Events of a lane whose ends do not add up. */
  readonly faults: readonly LaneFault[]
  /** Events that are not audited yet. */
  readonly lag: number
}

export interface LaneFault {
  readonly partition: number
  /** Events [from, to) were looked at. */
  readonly from: number
  readonly to: number
  /** Neither predicted nor dead-lettered in ClickHouse. */
  readonly unaccounted: number
  /** Ends beyond one per event, with FINAL. */
  readonly duplicates: number
}

export interface LightAuditDeps {
  readonly pipeline: string
  readonly events: { readonly topic: string; readonly generation: string }
  /** Topic id of the predictions topic. */
  readonly predictionsGeneration: string
  readonly admin: Pick<KafkaAdmin, 'ranges' | 'committed'>
  readonly log: Pick<LogReader, 'read'>
  readonly clickhouse: Pick<ClickHouseClient, 'rows'>
}

/**
 * The first ledger as ClickHouse has it, a piece at a time: counts instead of records. A piece of a lane is complete once every
 * letter that was written before its last prediction is stored, too; only then is it looked at, and each only once.
 * Not thread-safe: one check at a time.
 */
export interface LightAudit {
  check(): Promise<LightFindings>
}

/** Where a process that starts begins: so many events before the last one that is stored. */
const REACH_BACK = 100_000
/** Events of a lane in one check. */
const MAX_PIECE = 1_000_000

interface Lane {
  /** Everything below is audited. */
  from: number
  /** Events below `to` have ended; their letters are stored once sinks have committed `lettersBelow`. */
  piece: { readonly to: number; readonly lettersBelow: number } | null
}

export function createLightAudit(deps: LightAuditDeps): LightAudit {
  const { pipeline, events, admin, clickhouse } = deps
  const predictions = stageTopic(pipeline, 'predictions')
  const letters = stageTopic(pipeline, 'dead-letters')
  const lanes = new Map<number, Lane>()

  /** Events up to the last stored prediction have ended, all of them: a lane's outputs keep the order of its events. */
  async function findPieces(): Promise<void> {
    const stored = await admin.committed(consumerGroup(pipeline, 'sinks.predictions'), predictions)
    const last = await readLastOrigins(clickhouse, { ...deps, storedBelow: stored })
    const lettersEnd = new Map((await admin.ranges(letters)).map(({ partition, high }) => [partition, high]))
    for (const [partition, origin] of last) {
      const lane = lanes.get(partition) ?? { from: Math.max(0, origin + 1 - REACH_BACK), piece: null }
      lanes.set(partition, lane)
      const to = Math.min(origin + 1, lane.from + MAX_PIECE)
      if (lane.piece === null && to > lane.from) lane.piece = { to, lettersBelow: lettersEnd.get(partition) ?? 0 }
    }
  }

  /** Records of `events` between the ended ones: transaction markers take offsets, too. */
  async function countOpen(
    partition: number,
    from: number,
    to: number,
    ended: readonly EndedEvents[],
  ): Promise<number> {
    let open = 0
    let next = from
    for (const { first, last } of [...ended, { first: to, last: to }]) {
      if (first > next) {
        const gap = deps.log.read(events.topic, partition, next, first, { isolation: 'read_committed' })
        for await (const { length } of gap) open += length
      }
      next = last + 1
    }
    return open
  }

  return {
    async check() {
      await findPieces()
      const lettersStored = await admin.committed(consumerGroup(pipeline, 'sinks.dead-letters'), letters)
      const ranges = new Map((await admin.ranges(events.topic)).map((range) => [range.partition, range]))
      const found = { predicted: 0, deadLettered: 0, faults: [] as LaneFault[] }
      for (const [partition, lane] of lanes) {
        if (lane.piece === null || (lettersStored.get(partition) ?? 0) < lane.piece.lettersBelow) continue
        const { to } = lane.piece
        const from = Math.max(lane.from, ranges.get(partition)?.low ?? 0)
        const ended = await readEnds(clickhouse, { pipeline, generation: events.generation, partition, from, to })
        const unaccounted = await countOpen(partition, from, to, ended)
        let duplicates = 0
        for (const { first, last, predicted, deadLettered } of ended) {
          found.predicted += predicted
          found.deadLettered += deadLettered
          duplicates += predicted + deadLettered - (last - first + 1)
        }
        if (unaccounted + duplicates > 0) found.faults.push({ partition, from, to, unaccounted, duplicates })
        lane.from = to
        lane.piece = null
      }
      let lag = 0
      for (const [partition, { low, high }] of ranges) lag += high - Math.max(low, lanes.get(partition)?.from ?? 0)
      return { ...found, lag }
    },
  }
}
