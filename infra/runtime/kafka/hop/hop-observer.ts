/** Must not throw. */
export interface HopObserver {
  /** Called once per batch, when everything of it is in the logs. */
  settled(round: SettledRound): void
  /** Tried again after `waitMs`. */
  retrying(round: {
    /** Null = batches of several partitions. */
    readonly partition: number | null
    readonly code: string
    readonly message: string
    readonly attempt: number
    readonly waitMs: number
  }): void
  /** The records of a lane from `offset` on wait. */
  deferred(lane: {
    readonly partition: number
    readonly offset: number
    readonly code: string
    readonly message: string
  }): void
  /** Nothing more is read from this partition: an operator has to look. */
  stopped(lane: { readonly partition: number; readonly code: string; readonly message: string }): void
  /** Records of a partition were deleted before they were read, and it goes on behind them. */
  passedOver(lane: { readonly partition: number; readonly code: string; readonly message: string }): void
  /** The partition begins (again), or is not ours any more: what was said of it does not hold. */
  began(partition: number): void
}

export interface SettledRound {
  readonly partition: number
  readonly recordsIn: number
  readonly recordsOut: number
  readonly rejectedByReason: ReadonlyMap<string, number>
  readonly batches: number
  readonly deferredLanes: number
  readonly largestBatch: number
  /** Time in the handler, ms. */
  readonly busyMs: number
}
