import type { Clock } from '../infra/runtime/clock.ts'
import { fateOf, MillraceError, retryable } from '../infra/runtime/errors.ts'
import type { EmittedColumns, Outcome } from '../infra/runtime/kafka/outcome.ts'
import { pickSlices } from '../infra/runtime/kafka/record-batches/columns.ts'
import { ingestedAt, type VectorColumns, vectorSubject } from '../infra/runtime/vectors.ts'
import type { CompiledModelChoice } from '../schemas/pipeline/compiled.ts'
import type { ScoredRows } from './batching/micro-batcher.ts'
import { isInShare } from './is-in-share.ts'
import type { Route, ServedVersion } from './rollout/routes.ts'
import { createRowCheck, type RowCheck, vectorProblem } from './vector-problem.ts'
import { type AnswerRole, type Answers, createAnswerWriter } from './write-answers.ts'

export interface ScoreColumnsDeps {
  readonly choice: CompiledModelChoice
  readonly clock: Clock
  readonly observer: ScoreObserver
  /** Shows a share of the vectors to a version that answers nobody. */
  readonly shadow: ShadowTaker
  /**
   * Told when a version fails whatever it is given. True = others take its place: the same work succeeds later. Without it none do.
   */
  readonly failed?: (version: string, error: Error) => boolean
}

/** Must not throw. */
export interface ScoreObserver {
  /** What one version answered to rows of one lane. */
  answered(version: ServedVersion, role: AnswerRole, answers: Answers): void
}

export interface ShadowTaker {
  /**
   * Once per batch, when all its rows have their answers: a batch that is tried again has shown nothing. Copies what it wants, and
   * never waits. `vectors` are as they came: nothing is written behind them yet.
   */
  offer(route: Route, partition: number, vectors: VectorColumns): void
}

/** Vectors of one lane, all of one feature set and width, each with room for its prediction's rest. */
export interface ScoringLane {
  readonly outcome: Outcome
  /** Held by the caller until `score` has settled. */
  readonly route: Route
  readonly vectors: VectorColumns
}

export interface ScoreColumns {
  /** Bytes that a vector has to leave free behind it. */
  roomFor(route: Route): number
  /**
   * Makes the vectors into predictions where they lie, and emits them under `output`; what the model may not be given,
   * fails on or answers badly is rejected. Rejects with what a batcher rejects with, `model_failed` being a retry where others
   * take the version's place: then no prediction was emitted.
   */
  score(lanes: readonly ScoringLane[], output: string): Promise<void>
}

/** Rows of a lane that one version answers. */
interface Share {
  readonly version: ServedVersion
  readonly role: AnswerRole
  /** [count] rows of the vectors. */
  readonly rows: Int32Array
  /** Further rows of it, which are late before they are asked about: they get the fallback. */
  readonly late: Int32Array
  /** When it was found that they are, epoch ms. */
  readonly lateAt: number
}

interface Work extends ScoringLane {
  readonly arrivedAt: number
  /** When the answer of each row is late, epoch ms; null = never. */
  readonly due: Float64Array | null
  readonly shares: readonly Share[]
  /** 1 = the row has its prediction. */
  readonly answered: Uint8Array
}

export function createScoreColumns(deps: ScoreColumnsDeps): ScoreColumns {
  const { choice, clock, observer, shadow } = deps
  const { deadlineMs, fallback } = choice
  const writer = createAnswerWriter(choice)
  const checks = new WeakMap<ServedVersion, RowCheck>()

  function checkOf(version: ServedVersion): RowCheck {
    const known = checks.get(version)
    if (known !== undefined) return known
    const check = createRowCheck(version.manifest)
    checks.set(version, check)
    return check
  }

  /** The rows of each version that it may be given; the others are rejected, or answered with the fallback. */
  function begin(lane: ScoringLane): Work {
    const { vectors, route } = lane
    const { canary } = route
    const due = deadlineMs === null ? null : dueTimes(vectors, deadlineMs)
    const now = clock.now()
    const take = (version: ServedVersion, role: AnswerRole, isMine: (row: number) => boolean): Share => {
      const rows = new Int32Array(vectors.length)
      // a row of another width is read nowhere but where its problem is said
      const check = vectors.width === version.width ? checkOf(version) : () => false
      const late = new Int32Array(fallback?.late === true ? vectors.length : 0)
      let count = 0
      let lates = 0
      for (let row = 0; row < vectors.length; row++) {
        if (!isMine(row)) continue
        if (fallback?.late === true && due !== null && now > (due[row] as number)) {
          late[lates++] = row
        } else if (check(vectors.features, row) || isFit(version, lane, row)) rows[count++] = row
      }
      return { version, role, rows: rows.subarray(0, count), late: late.subarray(0, lates), lateAt: now }
    }
    const isOther = canary === null ? null : (row: number) => isInShare(canary, vectors, row)
    const shares = [take(route.primary, 'primary', isOther === null ? () => true : (row) => !isOther(row))]
    if (canary !== null && isOther !== null) shares.push(take(canary.version, 'canary', isOther))
    return { ...lane, arrivedAt: clock.monotonic(), due, shares, answered: new Uint8Array(vectors.length) }
  }

  /** Of a row that did not pass the quick check; rejects it when not. */
  function isFit({ manifest }: ServedVersion, { outcome, vectors }: ScoringLane, row: number): boolean {
    const from = row * vectors.width
    const problem = vectorProblem(manifest, Array.from(vectors.features.subarray(from, from + vectors.width)))
    if (problem !== null) reject(outcome, vectors, row, problem)
    return problem === null
  }

  async function ask(work: Work, { version, rows }: Share): Promise<ScoredRows> {
    return await version.batcher.submit({
      lane: `${work.outcome.batch.topic}/${work.outcome.batch.partition}`,
      rows: featuresOf(work.vectors, rows),
      arrivedAt: work.arrivedAt,
      deadline:
        work.due === null ? Number.POSITIVE_INFINITY : earliest(work.due, rows) - clock.now() + clock.monotonic(),
    })
  }

  /** A version that fails whatever it is given ends the process only when no other can take its place. */
  function reasonOf({ version }: Share, reason: unknown): unknown {
    if (!(reason instanceof MillraceError) || reason.code !== 'model_failed') return reason
    const isReplaced = deps.failed?.(version.manifest.version, reason) ?? false
    return isReplaced ? retryable(reason.code, reason.message, reason) : reason
  }

  function finish(work: Work, share: Share, scored: ScoredRows): void {
    const { vectors, due, answered, outcome } = work
    const { rows, late, lateAt } = share
    for (const row of late) {
      writer.writeFallback(share, vectors, row, lateAt)
      answered[row] = 1
    }
    const unasked = late.length
    const answers = writer.write(share, { vectors, due, answered, scored, rows, unasked }, (row, problem) =>
      reject(outcome, vectors, row, problem),
    )
    observer.answered(share.version, share.role, answers)
  }

  return {
    roomFor: ({ primary, canary }) =>
      Math.max(writer.room(primary, 'primary'), canary === null ? 0 : writer.room(canary.version, 'canary')),

    async score(lanes, output) {
      const works = lanes.map(begin)
      const asked = works.flatMap((work) =>
        work.shares.flatMap((share) =>
          share.rows.length + share.late.length === 0 ? [] : [{ work, share, scored: ask(work, share) }],
        ),
      )
      // all of them, since a batcher keeps the rows until it has settled
      const settled = await Promise.allSettled(asked.map(({ scored }) => scored))
      const reasons = settled.flatMap((result, at) =>
        result.status === 'fulfilled' ? [] : [reasonOf((asked[at] as (typeof asked)[number]).share, result.reason)],
      )
      // what is not understood comes before what another try may mend
      if (reasons.length > 0) throw reasons.find((reason) => fateOf(reason) === 'crash') ?? reasons[0]
      for (const { outcome, route, vectors } of works) shadow.offer(route, outcome.batch.partition, vectors)
      for (const { work, share, scored } of asked) finish(work, share, await scored)
      for (const { outcome, vectors, answered } of works) {
        vectors.releaseFeatures()
        const rows = rowsOf(vectors, answered)
        if (rows !== null) outcome.emitColumns(output, rows)
      }
    },
  }
}

function dueTimes({ values, length }: VectorColumns, deadlineMs: number): Float64Array {
  const due = new Float64Array(length)
  for (let row = 0; row < length; row++) due[row] = ingestedAt(values, row) + deadlineMs
  return due
}

function earliest(due: Float64Array, rows: Int32Array): number {
  let first = Number.POSITIVE_INFINITY
  for (const row of rows) first = Math.min(first, due[row] as number)
  return first
}

/** [rows, width]; the lane's own where they are all there is. */
function featuresOf({ features, length, width }: VectorColumns, rows: Int32Array): Float32Array {
  if (rows.length === length) return features
  const picked = new Float32Array(rows.length * width)
  let at = 0
  for (const row of rows) {
    for (let column = row * width, end = column + width; column < end; column++)
      picked[at++] = features[column] as number
  }
  return picked
}

function rowsOf(vectors: VectorColumns, answered: Uint8Array): EmittedColumns | null {
  const { length, sources, keys, values } = vectors
  if (!answered.includes(0)) return length === 0 ? null : vectors
  const rows = new Int32Array(length)
  let count = 0
  for (let row = 0; row < length; row++) if (answered[row] === 1) rows[count++] = row
  if (count === 0) return null
  const picked = rows.subarray(0, count)
  return {
    length: count,
    sources: picked.map((row) => sources[row] as number),
    keys: pickSlices(keys, picked),
    values: pickSlices(values, picked),
    subjectOf: (at) => vectors.subjectOf(picked[at] as number),
    release: () => vectors.release?.(),
  }
}

function reject(
  outcome: Outcome,
  { sources, values }: VectorColumns,
  row: number,
  problem: { readonly reason: string; readonly message: string },
): void {
  outcome.reject(sources[row] as number, { kind: 'rejected', ...problem, ...vectorSubject(values, row) })
}
