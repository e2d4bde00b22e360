import { retryable } from '../../infra/runtime/errors.ts'
import type { ColumnBatch } from '../../infra/runtime/kafka/consumer/column-batch.ts'
import type { LaneHooks, LaneSource } from '../../infra/runtime/kafka/consumer/lane-source.ts'
import type { LaneClaims, LaneWriter } from '../../infra/runtime/kafka/exactly-once/lane-writer.ts'
import { type RecordColumns, type Slices, sliceAt } from '../../infra/runtime/kafka/record-batches/columns.ts'
import type { Started } from '../../infra/runtime/lifecycle/scope.ts'
import { type MemoryRecord, memoryBatch } from './memory-kafka.ts'

/** One partition's topics and committed position, which outlive the processes that work on them. */
export interface MemoryLane {
  readonly input: readonly MemoryRecord[]
  readonly outputs: Buffer[]
  readonly letters: Buffer[]
  committed: { offset: number; metadata: string }
  /** The writer whose writes are accepted. */
  owner: symbol | null
}

export function memoryLane(input: readonly MemoryRecord[]): MemoryLane {
  return { input, outputs: [], letters: [], committed: { offset: 0, metadata: '0' }, owner: null }
}

export interface MemoryClaimsOptions {
  /** Offset of the input record that an output or a dead letter ends. */
  readonly sourceOf: (value: Buffer) => number
  /** Before each append; a rejection leaves the outcome unknown, as `landed` says. */
  readonly pause?: () => Promise<void>
  readonly failure?: () => { readonly landed: boolean } | null
}

/** Claims on lanes in memory, by partition: the last claim's writer is the only one whose writes land. */
export function memoryClaims(lanes: ReadonlyMap<number, MemoryLane>, options: MemoryClaimsOptions): LaneClaims {
  const { sourceOf } = options
  return {
    async claim({ partition }, committed) {
      const lane = lanes.get(partition)
      if (lane === undefined) throw new Error(`no lane ${partition}`)
      const owner = Symbol('writer')
      lane.owner = owner
      const last = lane.outputs.at(-1)
      const resumeAt = Math.max(committed.offset, last === undefined ? 0 : sourceOf(last) + 1)
      const known = Number(committed.metadata)
      const letters = lane.letters.slice(known).map((letter, at) => ({ source: sourceOf(letter), at: known + at }))
      return memoryWriter({ lane, owner, resumeAt, letters, metadata: committed.metadata }, options)
    },
    room: () => null,
    close: async () => {},
  }
}

function memoryWriter(
  {
    lane,
    owner,
    resumeAt,
    letters,
    metadata,
  }: {
    readonly lane: MemoryLane
    readonly owner: symbol
    readonly resumeAt: number
    /** The dead letters behind `metadata`. */
    readonly letters: readonly { readonly source: number; readonly at: number }[]
    readonly metadata: string
  },
  { pause, failure }: MemoryClaimsOptions,
): LaneWriter {
  let order: Promise<unknown> = Promise.resolve()
  let broken = false
  async function append(log: Buffer[], records: RecordColumns | null): Promise<void> {
    if (records === null) return
    await pause?.()
    if (broken || lane.owner !== owner) throw retryable('lane_fenced', 'fenced')
    const failed = failure?.() ?? null
    if (failed?.landed !== false) log.push(...valuesOf(records.values, records.length))
    if (failed !== null) {
      broken = true
      throw retryable('outcome_unknown', 'no answer')
    }
  }
  return {
    tail: {
      resumeAt,
      ended: (offset) => letters.some(({ source }) => source === offset),
      askBelow:
        letters.length === 0
          ? null
          : { source: Math.max(...letters.map(({ source }) => source)) + 1, originGeneration: '', origin: 0 },
    },
    write(deadLetters, outputs, upTo) {
      const written = order.then(async () => {
        await append(lane.letters, deadLetters)
        await append(lane.outputs, outputs)
        return String(
          Math.min(lane.letters.length, ...letters.filter(({ source }) => source >= upTo).map(({ at }) => at)),
        )
      })
      order = written.catch(() => {
        broken = true
      })
      return written
    },
    bytesInFlight: () => 0,
    metadata: () => metadata,
    close: async () => {},
  }
}

function valuesOf(values: Slices, length: number): Buffer[] {
  return Array.from({ length }, (_, row) => Buffer.from(sliceAt(values, row) ?? []))
}

export interface MemorySourceOptions {
  readonly batchRows: number
  readonly maxBatchesOut: number
}

/** Reads lanes in memory from their committed positions, and ends its intake at their ends. `crash` takes it away at once. */
export async function startMemoryLaneSource(
  lanes: ReadonlyMap<number, MemoryLane>,
  hooks: LaneHooks,
  options: MemorySourceOptions,
): Promise<Started<LaneSource> & { commit(): void; crash(): void }> {
  const state = new Map<number, { settled: number; next: number; out: ColumnBatch[] }>()
  let crashed = false
  let ended = false
  let wake = Promise.withResolvers<void>()
  const changed = (): void => {
    wake.resolve()
    wake = Promise.withResolvers()
  }
  const opening = new AbortController()
  for (const [partition, lane] of lanes) {
    const opened = hooks.open(partition, lane.committed, opening.signal).then((at) => {
      state.set(partition, { settled: at, next: at, out: [] })
      changed()
    })
    opened.catch((error: unknown) => {
      if (!opening.signal.aborted) throw error
    })
  }
  const source: LaneSource = {
    generation: 'generation',
    async take() {
      for (;;) {
        if (crashed || ended) return []
        const batches: ColumnBatch[] = []
        for (const [partition, lane] of state) {
          const input = lanes.get(partition)?.input ?? []
          const rows = input.slice(lane.next, lane.next + options.batchRows)
          if (rows.length === 0 || lane.out.length >= options.maxBatchesOut) continue
          const from = lane.next
          const batch = memoryBatch({ topic: 'p.in', partition, records: rows, offsets: rows.map((_, i) => from + i) })
          lane.next += rows.length
          lane.out.push(batch)
          batches.push(batch)
        }
        if (batches.length > 0) return batches
        const done = [...state].every(([partition, lane]) => lane.settled === lanes.get(partition)?.input.length)
        if (done && state.size === lanes.size) return []
        await wake.promise
      }
    },
    settle(batch) {
      const lane = state.get(batch.partition)
      if (lane?.out[0] !== batch) return
      lane.out.shift()
      lane.settled = batch.offset(batch.length - 1) + 1
      changed()
    },
    rewind(partition, offset) {
      const lane = state.get(partition)
      if (lane !== undefined) Object.assign(lane, { settled: offset, next: offset, out: [] })
      changed()
    },
    reach() {},
    owns: (batch) => !crashed && (state.get(batch.partition)?.out.includes(batch) ?? false),
    commit: async () => true,
    confirm: async () => !crashed,
    trusted: () => !crashed,
    endIntake() {
      ended = true
      changed()
    },
    heldBytes: () => 0,
    positions: () => new Map([...state].map(([partition, { settled }]) => [partition, { settled, end: 0 }])),
    stuckSince: () => null,
  }
  return {
    value: source,
    commit() {
      for (const [partition, { settled }] of state) {
        const lane = lanes.get(partition)
        if (lane !== undefined && !crashed) {
          lane.committed = { offset: settled, metadata: hooks.metadata?.(partition, settled) ?? '' }
        }
      }
    },
    crash() {
      crashed = true
      opening.abort()
      changed()
    },
    async stop() {
      opening.abort()
      await Promise.all([...state.keys()].map(async (partition) => await hooks.close?.(partition, 'drained')))
    },
  }
}
