import { parseAvroSchema } from '../../infra/runtime/avro/avro-type.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { LaneClaims } from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import type { HopObserver } from '../../infra/runtime/kafka/hop/hop-observer.ts'
import { type LaneHop, type LaneHopOptions, startLaneHop } from '../../infra/runtime/kafka/hop/lane-hop.ts'
import type { BatchHandler } from '../../infra/runtime/kafka/outcome.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { readContract } from '../../infra/runtime/stage-contracts.ts'
import type { DeadLetter } from '../../schemas/generated/records.ts'
import {
  type MemoryLane,
  type MemorySourceOptions,
  memoryClaims,
  memoryLane,
  startMemoryLaneSource,
} from './memory-lanes.ts'

const type = parseAvroSchema(await readContract('dead-letter'), 'dead-letter')

export function letterOf(value: Buffer): DeadLetter {
  return type.readerOf(type)(value) as DeadLetter
}

/** An output's value begins with `o` and the offset that it comes from. */
export function memorySourceOf(value: Buffer): number {
  return value[0] === 'o'.charCodeAt(0)
    ? Number.parseInt(value.toString('latin1', 1), 10)
    : letterOf(value).source_offset
}

export interface MemoryHopOptions extends Partial<Omit<LaneHopOptions, 'handler' | 'startSource'>> {
  readonly lanes: ReadonlyMap<number, MemoryLane>
  readonly handler: BatchHandler
  readonly claims?: LaneClaims
  readonly source?: MemorySourceOptions
}

export const quietObserver: HopObserver = {
  settled() {},
  retrying() {},
  deferred() {},
  stopped() {},
  passedOver() {},
  began() {},
}

/** A hop from lanes in memory to lanes in memory; its output is named `out`. */
export async function startMemoryHop({ lanes, source, ...options }: MemoryHopOptions): Promise<{
  readonly hop: Started<LaneHop>
  readonly source: Awaited<ReturnType<typeof startMemoryLaneSource>>
}> {
  let started: Awaited<ReturnType<typeof startMemoryLaneSource>> | undefined
  const hop = await startLaneHop({
    claims: memoryClaims(lanes, { sourceOf: memorySourceOf }),
    input: { topic: 'p.in', generation: 'generation' },
    output: { name: 'out', topic: 'p.out' },
    deadLetters: {
      stage: 's',
      pipeline: 'p',
      type,
      schemaId: 7,
      replayOfHeader: 'millrace-replay-of',
      clock: systemClock,
      topic: 'p.dead-letters',
    },
    originOf: (batch, index) => ({ generation: batch.generation, offset: batch.offset(index) }),
    limits: { maxRows: 100, maxBytes: 10_000, lingerMs: 0 },
    retry: { baseMs: 0, maxMs: 0 },
    clock: systemClock,
    observer: quietObserver,
    ...options,
    startSource: async (hooks) => {
      started = await startMemoryLaneSource(lanes, hooks, source ?? { batchRows: 10, maxBatchesOut: 4 })
      return started
    },
  })
  if (started === undefined) throw new Error('the hop started no source')
  return { hop, source: started }
}

/** Lanes of so many records each, from partition 0 on. */
export function memoryLanes(...lengths: readonly number[]): Map<number, MemoryLane> {
  return new Map(
    lengths.map((length, partition) => [
      partition,
      memoryLane(Array.from({ length }, (_, offset) => ({ value: Buffer.from(`i${offset}`) }))),
    ]),
  )
}
