import type { BatchHandler } from '../../../infra/runtime/kafka/outcome.ts'

/** A batch that its handler has finished. */
export interface Finished {
  readonly partition: number
  readonly lastOffset: number
  /** Batches of its lane that were taken before it and are still at work. */
  readonly overtook: number
  /** Batches of all lanes that are finished and stand behind one at work. */
  readonly waiting: number
}

export interface OrderWatch {
  readonly handler: BatchHandler
  /** The partition is not ours any more, or begins again: what is out of it does not count. */
  forget(partition: number): void
}

/** Tells in which order the batches of a lane are finished, whatever the handler is. */
export function watchOrder(handler: BatchHandler, onFinished: (finished: Finished) => void): OrderWatch {
  const { concurrency } = handler
  /** By partition, in the order of the lane: first offset of what waits or is at work, and whether it is finished. */
  const lanes = new Map<number, Map<number, boolean>>()

  function laneOf(partition: number): Map<number, boolean> {
    const known = lanes.get(partition) ?? new Map<number, boolean>()
    lanes.set(partition, known)
    return known
  }

  function finish(partition: number, lane: Map<number, boolean>, first: number, lastOffset: number): void {
    lane.set(first, true)
    const overtook = [...lane].filter(([offset, finished]) => offset < first && !finished).length
    for (const [offset, finished] of lane) {
      if (!finished) break
      lane.delete(offset)
    }
    let waiting = 0
    for (const others of lanes.values()) for (const finished of others.values()) if (finished) waiting++
    onFinished({ partition, lastOffset, overtook, waiting })
  }

  return {
    forget: (partition) => void lanes.delete(partition),
    handler: {
      ...(concurrency === undefined ? {} : { concurrency }),
      async begin(partition, ...rest) {
        lanes.delete(partition)
        await handler.begin?.(partition, ...rest)
      },
      async handle(outcomes) {
        const out = outcomes.map(({ batch }) => ({
          batch,
          lane: laneOf(batch.partition),
          first: batch.offset(0),
        }))
        // handed in again after a failure, it keeps its place
        for (const { lane, first } of out) if (!lane.has(first)) lane.set(first, false)
        await handler.handle(outcomes)
        for (const { batch, lane, first } of out) {
          // else the lane has begun anew meanwhile
          if (lanes.get(batch.partition) === lane) finish(batch.partition, lane, first, batch.offset(batch.length - 1))
        }
      },
    },
  }
}
