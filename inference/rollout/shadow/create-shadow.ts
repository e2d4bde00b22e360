import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError, fateOf, retryable } from '../../../infra/runtime/errors.ts'
import type { OutgoingRecord, RecordWriter } from '../../../infra/runtime/kafka/record-writer.ts'
import type { Started } from '../../../infra/runtime/lifecycle/scope.ts'
import type { Logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { VectorColumns } from '../../../infra/runtime/vectors.ts'
import type { CompiledModelChoice } from '../../../schemas/pipeline/compiled.ts'
import type { ScoredRows } from '../../batching/micro-batcher.ts'
import type { HeldVersion } from '../../models/version-cache.ts'
import type { ShadowTaker } from '../../score-columns.ts'
import { createRowCheck, type RowCheck } from '../../vector-problem.ts'
import type { GuardObserver } from '../guards.ts'
import type { RouteShare, ServedVersion } from '../routes.ts'
import { type Account, accountOf, type ShadowObserver } from './instruments.ts'
import { createShadowQueue, type ShadowLimits } from './shadow-queue.ts'
import { batchesOf, createShadowRecords } from './shadow-records.ts'
import { copyRows, rowsInShare, type ShadowRows } from './shadow-rows.ts'

export interface ShadowDeps {
  readonly topic: string
  /** Registry id of the prediction's schema under that topic. */
  readonly schemaId: number
  readonly choice: CompiledModelChoice
  readonly writer: RecordWriter
  /**
   * Keeps the version loaded until it is released; null when it is not loaded any more. Only what is in work holds it: rows that
   * wait do not keep a version that nothing else wants, and are dropped when it has gone.
   */
  hold(version: ServedVersion): HeldVersion | null
  readonly guards: GuardObserver
  readonly observer: ShadowObserver
  readonly limits: ShadowLimits
  readonly clock: Clock
  readonly logger: Logger
}

/** Of the limits, what one lane may offer at once. */
const SHARE_OF_OFFER = 0.25
/** How long a stop waits for what is in work. */
const STOP_MS = 2_000

/**
 * Shows vectors to a shadow version beside what answers, and writes what it says. Best effort: what comes too fast, fails or
 * cannot be written is counted, logged once for each version and kind, and gone. `offer` copies and returns; nothing here throws
 * into its caller or makes it wait. `stop` waits for a moment for what is in work and drops everything else.
 */
export function createShadow(deps: ShadowDeps): Started<ShadowTaker> {
  const { topic, schemaId, choice, hold, guards, observer, limits, clock, logger } = deps
  const queue = createShadowQueue(limits)
  const shadowRecords = createShadowRecords(choice)
  const checks = new WeakMap<ServedVersion, RowCheck>()
  const said = new Set<string>()
  const inWork = new Set<Promise<void>>()
  /** For what a version has been asked. */
  const giveUps = new Set<() => void>()
  let isStopped = false
  let isScheduled = false

  function say({ manifest: { name, version } }: ServedVersion, error: unknown): void {
    const { code, message } = describeError(error)
    const kind = `${version} ${code}`
    if (said.has(kind)) return
    said.add(kind)
    logger.warn({ model: name, version, code, message }, 'a shadow failed; it is said once, and counted')
  }

  /** Whoever offers goes on first. */
  function schedule(): void {
    if (isScheduled) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      for (let next = queue.take(); next !== null; next = queue.take()) begin(next)
    })
  }

  function begin(rows: ShadowRows): void {
    const account = accountOf(rows, observer)
    const work = show(rows, account)
      .catch((error: unknown) => {
        account.ended('broken', account.open)
        say(rows.version, error)
      })
      .finally(() => {
        inWork.delete(work)
        queue.done(rows)
        schedule()
      })
    inWork.add(work)
  }

  async function show(rows: ShadowRows, account: Account): Promise<void> {
    const { version } = rows
    const held = hold(version)
    if (held === null) return account.dropped('unloaded')
    let scored: ScoredRows | null = null
    const fit = fitRows(rows)
    try {
      account.ended('unfit', rows.length - fit.length)
      if (fit.length > 0) scored = await answered(held.version, rows, fit)
    } catch (error) {
      account.ended('unavailable', fit.length)
      say(version, error)
      return
    } finally {
      held.release()
    }
    if (scored === null) return account.dropped('stopped')
    for (const { reason, message } of scored.failures.values()) {
      account.ended(reason, 1)
      say(version, retryable(reason, message))
    }
    const { records, scores, invalid, runMs, runRows } = shadowRecords.write(rows, fit, scored)
    account.ended('invalid', invalid)
    guards.scored(version.manifest.version, scores, fit.length, scored.failures.size, invalid, runMs, runRows)
    await write(rows, records, account)
  }

  /** Rows that the version may be given. */
  function fitRows({ version, length, width, features }: ShadowRows): Int32Array {
    const fit = new Int32Array(length)
    if (width !== version.width) return fit.subarray(0, 0)
    const check = checks.get(version) ?? createRowCheck(version.manifest)
    checks.set(version, check)
    let count = 0
    for (let row = 0; row < length; row++) if (check(features, row)) fit[count++] = row
    return fit.subarray(0, count)
  }

  /** Null when nobody waits for it any longer. */
  async function answered(version: ServedVersion, rows: ShadowRows, fit: Int32Array): Promise<ScoredRows | null> {
    // a race against one stop for all would keep what every turn took for as long as that is open
    const { promise, resolve, reject } = Promise.withResolvers<ScoredRows | null>()
    const giveUp = (): void => resolve(null)
    giveUps.add(giveUp)
    try {
      const scored = version.batcher.submit({
        lane: `${topic}/${rows.partition}`,
        rows: featuresOf(rows, fit),
        arrivedAt: clock.monotonic(),
        deadline: Number.POSITIVE_INFINITY,
      })
      scored.then(resolve, reject)
      return await promise
    } finally {
      giveUps.delete(giveUp)
    }
  }

  async function write({ version, partition }: ShadowRows, records: readonly OutgoingRecord[], account: Account) {
    for (const batch of batchesOf(records)) {
      try {
        await deps.writer.write([{ topic, partition, records: batch }])
        account.ended('written', batch.length)
      } catch (error) {
        say(version, error)
        // a record that is too large is the matter of its batch; all else is that of the next one, too
        account.ended('unwritten', fateOf(error) === 'reject' ? batch.length : account.open)
        if (account.open === 0) return
      }
    }
  }

  function copied(version: ServedVersion, partition: number, vectors: VectorColumns, rows: Int32Array) {
    try {
      return copyRows(version, partition, vectors, rows, {
        room: shadowRecords.room(version),
        schemaId,
        maxRows: Math.floor(SHARE_OF_OFFER * limits.maxRows),
        maxBytes: SHARE_OF_OFFER * limits.maxBytes,
      })
    } catch (error) {
      observer.ended(version, 'broken', rows.length)
      throw error
    }
  }

  function take(share: RouteShare, partition: number, vectors: VectorColumns): void {
    const { version } = share
    const rows = rowsInShare(share, vectors)
    if (rows.length === 0) return
    if (isStopped) {
      observer.dropped(version, 'stopped', rows.length)
      return
    }
    const copy = copied(version, partition, vectors, rows)
    observer.dropped(version, 'full', rows.length - (copy?.length ?? 0))
    if (copy === null) return
    for (const dropped of queue.push(copy)) observer.dropped(dropped.version, 'full', dropped.length)
    schedule()
  }

  return {
    value: {
      offer({ shadow }, partition, vectors) {
        if (shadow === null) return
        try {
          take(shadow, partition, vectors)
        } catch (error) {
          say(shadow.version, error)
        }
      },
    },
    async stop() {
      isStopped = true
      for (const { version, length } of queue.clear()) observer.dropped(version, 'stopped', length)
      const ended = new AbortController()
      const all = Promise.all(inWork).then(() => ended.abort())
      await Promise.race([all, clock.sleep(STOP_MS, ended.signal)])
      for (const giveUp of giveUps) giveUp()
    },
  }
}

/** [fit, width]; the rows' own where all fit. */
function featuresOf({ features, length, width }: ShadowRows, fit: Int32Array): Float32Array {
  if (fit.length === length) return features
  const picked = new Float32Array(fit.length * width)
  for (const [at, row] of fit.entries()) picked.set(features.subarray(row * width, (row + 1) * width), at * width)
  return picked
}
