import { killPoint } from '#kill-points'
import { type Backoff, backoffMs } from '../../backoff.ts'
import type { Clock } from '../../clock.ts'
import { describeError, fateOf } from '../../errors.ts'
import type { Started } from '../../lifecycle/scope.ts'
import type { ColumnBatch } from '../consumer/column-batch.ts'
import type { LaneHooks, LaneSource } from '../consumer/lane-source.ts'
import type { LostRange } from '../consumer/start-position.ts'
import type { TakeLimits } from '../consumer/take-limits.ts'
import { type DeadLetterEncoding, encodeLostRange } from '../dead-letters.ts'
import type { LaneClaims, LaneTopics } from '../exactly-once/lane-writer.ts'
import { type BatchHandler, openOutcome, type SealedOutcome } from '../outcome.ts'
import { outgoingColumns } from '../producer/outgoing-columns.ts'
import type { Decision } from './hop-lane.ts'
import { createHopLanes } from './hop-lanes.ts'
import type { HopObserver, SettledRound } from './hop-observer.ts'
import { OUTGOING_LIMITS, outgoing } from './outgoing.ts'
import type { OriginOf } from './unended.ts'

/**
 * One hop of a pipeline, exactly once: takes batches from a source, lets the handler decide the fate of every record, and
 * writes dead letters and outputs of a partition under a claim that fences every earlier writer. What a log already
 * holds is not handled again, so a crash at any point neither loses a record nor writes it twice. A record keeps its
 * partition number in every topic that it is written to.
 */
export interface LaneHopOptions {
  /** Joins the group; the hooks are the hop's. Resolves without waiting for a partition to be opened. */
  readonly startSource: (
    hooks: LaneHooks,
    onRetentionLost: (range: LostRange) => Promise<number>,
  ) => Promise<Started<LaneSource>>
  readonly claims: LaneClaims
  readonly handler: BatchHandler
  readonly input: LaneTopics['input']
  /** The handler's name for the output, and its topic; null = it stores elsewhere. */
  readonly output: { readonly name: string; readonly topic: string } | null
  readonly deadLetters: DeadLetterEncoding & { readonly topic: string }
  /** The coordinates in the events topic of an input record; null = unknown. */
  readonly originOf: OriginOf
  /** Other inputs whose dead letters may end records of this one; their writers are fenced, too. */
  readonly alsoFence?: readonly string[]
  /** When records were deleted before they were read: true = the partition goes on behind them, else it stops. */
  readonly goOnAfterRetentionLost?: boolean
  /** Where a partition begins, for a reader that keeps its own positions; by default at what is committed. */
  readonly startAt?: ((partition: number) => Promise<number>) | undefined
  readonly limits: TakeLimits
  readonly retry: Backoff
  readonly clock: Clock
  readonly observer: HopObserver
}

export interface LaneHop {
  readonly source: LaneSource
  /** Resolves when the hop has ended after `stop`; rejects with what it did not understand. */
  readonly ended: Promise<void>
  /** Time since the oldest handler in work began or was last tried; 0 while none is. What liveness looks at. */
  workingForMs(): number
  /** Every partition goes back to where `startAt` says now; what is out, and what is queued, is forgotten. */
  restart(): Promise<void>
}

/** `stop` ends the intake, lets what is in work finish, or gives it up when it waits to be tried again, and leaves the group. */
export async function startLaneHop(options: LaneHopOptions): Promise<Started<LaneHop>> {
  const { clock, retry, observer, handler, input, output, deadLetters } = options
  const outputs = output === null ? [] : [output.name]
  const stopping = new AbortController()
  const failed = Promise.withResolvers<never>()
  failed.promise.catch(() => {})
  const working = new Map<symbol, number>()
  const lanes = createHopLanes({
    claims: options.claims,
    topicsOf: (partition) => ({
      partition,
      input,
      output: output?.topic ?? null,
      deadLetters: deadLetters.topic,
      ...(options.alsoFence === undefined ? {} : { alsoFence: options.alsoFence }),
    }),
    lostLetter: (range) => outgoingColumns([encodeLostRange(deadLetters, input, range)], clock.now()),
    goOnAfterRetentionLost: options.goOnAfterRetentionLost ?? false,
    generation: input.generation,
    originOf: options.originOf,
    begin: async (...lane) => await handler.begin?.(...lane),
    startAt: options.startAt,
    retry,
    clock,
    observer,
    stopping: stopping.signal,
    onFailure: failed.reject,
  })

  /** Handles batches until each is decided or does not belong to us any more. */
  async function handle(batches: readonly ColumnBatch[]): Promise<void> {
    const ticket = Symbol('handling')
    try {
      for (let attempt = 1; !stopping.signal.aborted || attempt === 1; attempt++) {
        working.set(ticket, clock.monotonic())
        const owned = batches.filter((batch) => source.owns(batch))
        try {
          return await handleOnce(owned, attempt)
        } catch (error) {
          if (fateOf(error) !== 'retry') throw error
          const waitMs = backoffMs(retry, attempt - 1)
          observer.retrying({ partition: null, ...describeError(error), attempt, waitMs })
          await clock.sleep(waitMs, stopping.signal)
        }
      }
    } finally {
      working.delete(ticket)
    }
  }

  async function handleOnce(batches: readonly ColumnBatch[], attempts: number): Promise<void> {
    const startedAt = clock.monotonic()
    const work = batches.flatMap((batch) => {
      const lane = lanes.get(batch.partition)
      return lane === undefined ? [] : [{ lane, batch, open: openOutcome(lane.unended(batch), outputs) }]
    })
    const open = work.map((each) => each.open).filter(({ batch }) => batch.length > 0)
    if (open.length > 0) await handler.handle(open)
    killPoint('after-decode')
    const busyMs = (clock.monotonic() - startedAt) / batches.length
    const decided = work.map((each) => ({ ...each, outcome: each.open.seal() }))
    for (const { lane, batch, outcome } of decided) {
      if (source.owns(batch)) lane.decide(batch, decisionOf(outcome, attempts, busyMs))
    }
  }

  function decisionOf(outcome: SealedOutcome, attempts: number, busyMs: number): Decision {
    let { rejections } = outcome
    return {
      outcome,
      parts() {
        const made = outgoing(outcome, {
          output: output?.name ?? null,
          deadLetters,
          attempts,
          now: clock.now(),
          limits: OUTGOING_LIMITS,
        })
        rejections = made.rejections
        return made.parts
      },
      ended() {
        for (const blocks of outcome.columns.values()) for (const rows of blocks) rows.release?.()
        observer.settled(summarise(outcome, rejections, busyMs))
      },
    }
  }

  async function loop(): Promise<void> {
    const running = new Set<Promise<void>>()
    // a race would leave a reaction on the promise of a handler that is tried again and again, for each batch of the others
    let done = Promise.withResolvers<void>()
    for (;;) {
      while (running.size >= (handler.concurrency ?? 1)) {
        done = Promise.withResolvers()
        await done.promise
      }
      await options.claims.room()
      const batches = await source.take(options.limits)
      if (batches.length === 0) break
      // one that was rewound while `take` resolved belongs to no lane
      const owned = batches.filter((batch) => source.owns(batch))
      for (const batch of owned) lanes.add(batch)
      const run = handle(owned)
        .catch(failed.reject)
        .finally(() => {
          running.delete(run)
          done.resolve()
        })
      running.add(run)
    }
    await Promise.all(running)
    await lanes.flushed()
  }

  const started = await options.startSource(lanes.hooks, lanes.retentionLost)
  const source = started.value
  lanes.use(source)
  const ended = Promise.race([failed.promise, loop()])
  // the owner awaits `ended` or `stop`; a failure before that must not count as unhandled
  ended.catch(() => {})
  return {
    value: {
      source,
      ended,
      restart: lanes.restart,
      workingForMs: () => (working.size === 0 ? 0 : clock.monotonic() - Math.min(...working.values())),
    },
    async stop() {
      source.endIntake()
      stopping.abort()
      try {
        await ended
      } finally {
        await lanes.reopened()
        // nothing more is decided: what is out has nobody to wait for
        for (const [partition, { settled }] of source.positions()) source.rewind(partition, settled, 0)
        await started.stop()
        await options.claims.close()
      }
    },
  }
}

function summarise(outcome: SealedOutcome, rejections: SealedOutcome['rejections'], busyMs: number): SettledRound {
  const rejectedByReason = new Map<string, number>()
  for (const [, { reason }] of rejections) rejectedByReason.set(reason, (rejectedByReason.get(reason) ?? 0) + 1)
  return {
    partition: outcome.batch.partition,
    recordsIn: outcome.settled,
    recordsOut: outcome.settled - rejections.length,
    rejectedByReason,
    batches: 1,
    deferredLanes: outcome.deferral === null ? 0 : 1,
    largestBatch: outcome.settled,
    busyMs,
  }
}
