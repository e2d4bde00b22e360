import type { Clock } from '../../clock.ts'
import type { ColumnBatch } from './column-batch.ts'
import { type Lane, readyInMs } from './lane.ts'
import type { Membership } from './membership.ts'
import type { OwnedLane } from './owned-lane.ts'
import type { TakeLimits } from './take-limits.ts'

export interface HandOutOptions {
  readonly clock: Clock
  readonly maxBatchesOut: number
  readonly membership: Pick<Membership, 'trusted' | 'trust'>
  /** Those that may be handed out. */
  lanes(): readonly OwnedLane[]
}

/** Waits for records, and hands them out in turns. */
export interface HandOut {
  /** As `LaneSource.take`. */
  take(limits: TakeLimits): Promise<readonly ColumnBatch[]>
  /** Something may be there to take. */
  wake(): void
  /** `take` resolves with nothing from now on. */
  end(): void
  /** `take` rejects from now on. */
  fail(error: unknown): void
}

export function createHandOut({ clock, maxBatchesOut, membership, lanes }: HandOutOptions): HandOut {
  let waiting = (): void => {}
  let ended = false
  let failure: { readonly error: unknown } | null = null
  let turn = 0

  function takeNow(limits: TakeLimits): ColumnBatch[] {
    const order = lanes()
    const start = order.length === 0 ? 0 : turn++ % order.length
    const now = clock.monotonic()
    const taken: ColumnBatch[] = []
    let rows = limits.maxRows
    let bytes = limits.maxBytes
    for (const { records } of [...order.slice(start), ...order.slice(0, start)]) {
      if (rows <= 0 || bytes <= 0) break
      if (records.batchesOut >= maxBatchesOut || records.heldUntil > now) continue
      const part = partOf(records.next(), limits)
      // left whole for its own turn, rather than cut to fill this one
      if (taken.length > 0 && (part.rows > rows || part.bytes > bytes)) continue
      const batch = records.take({ maxRows: part.rows, maxBytes: bytes })
      if (batch === null) continue
      taken.push(batch)
      rows -= batch.length
      bytes -= batch.bytes
    }
    return taken
  }

  return {
    async take(limits) {
      for (;;) {
        if (failure !== null) throw failure.error
        if (ended) return []
        const { promise: woken, resolve } = Promise.withResolvers<void>()
        waiting = resolve
        const records = lanes().map((lane) => lane.records)
        const inMs = readyInMs(records, limits, maxBatchesOut, clock.monotonic())
        if (inMs === 0 && !membership.trusted()) {
          await Promise.race([woken, membership.trust()])
          continue
        }
        const taken = inMs === 0 ? takeNow(limits) : []
        if (taken.length > 0) return taken
        const timer = inMs === null || inMs === 0 ? null : setTimeout(resolve, inMs)
        await woken
        if (timer !== null) clearTimeout(timer)
      }
    },
    wake: () => waiting(),
    end() {
      ended = true
      waiting()
    },
    fail(error) {
      failure ??= { error }
      waiting()
    },
  }
}

/** What was fetched is taken in equal parts: no small rest is left over, which would cost as much as a whole batch. */
function partOf(
  { rows, bytes }: ReturnType<Lane['next']>,
  { maxRows, maxBytes }: TakeLimits,
): ReturnType<Lane['next']> {
  const parts = Math.max(1, Math.ceil(rows / maxRows), Math.ceil(bytes / maxBytes))
  return { rows: Math.ceil(rows / parts), bytes: bytes / parts }
}
