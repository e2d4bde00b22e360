import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'
import type { CompiledMonitor } from '../../schemas/pipeline/monitor.ts'
import type { DriftPart, DriftRound } from './drift-part.ts'
import type { DriftInstruments } from './instruments.ts'
import { catchUp } from './panes/catch-up.ts'
import { storedLanes } from './panes/pane-progress.ts'
import { reconcilePanes } from './panes/reconcile.ts'
import { type PanesOf, replacePanes } from './panes/replace-panes.ts'
import { serverTime } from './panes/server-time.ts'
import { createWindowScorer, type WindowScorer } from './scores/score-windows.ts'
import { openWindows, storeScores, unscoredWindows } from './scores/store-scores.ts'

export interface FeatureDriftDeps {
  readonly pipeline: string
  /** Digest of the features that the pipeline computes now. */
  readonly featureSet: string
  readonly monitor: Pick<CompiledMonitor, 'paneMs' | 'windowMs' | 'minRows'>
  readonly clickhouse: Pick<ClickHouseClient, 'rows' | 'command' | 'insert' | 'insertBody'>
  readonly clock: Pick<Clock, 'monotonic'>
  readonly instruments: Pick<DriftInstruments, 'computed' | 'scored' | 'differ' | 'otherFeatures'>
}

type Lanes = Awaited<ReturnType<typeof storedLanes>>

/** What is remembered of the profile in force. */
interface Standing {
  readonly of: PanesOf & { readonly windowMs: number }
  readonly scorer: WindowScorer
  /** Windows to be scored: starts. */
  readonly due: Set<number>
  /** Windows whose scores say that they are not over. */
  readonly open: Set<number>
  /** When an open window was last scored, monotonic ms. */
  readonly scoredAt: Map<number, number>
  /** Panes that were computed and not reconciled since. */
  unchecked: Set<number>
  lanes: { readonly all: Lanes; readonly at: number } | null
  checkedAt: number
}

/** An open window is scored at most so often, a closed one at once. */
const OPEN_EVERY_MS = 15_000
/** Partitions that are new are looked for so often. */
const LANES_EVERY_MS = 30_000
const RECONCILE_EVERY_MS = 30_000
const RECONCILED_AT_ONCE = 400
const WINDOWS_AT_ONCE = 16

/** Panes of what was stored, and the scores of their windows, for the profile in force. */
export function createFeatureDrift(deps: FeatureDriftDeps): DriftPart {
  const { pipeline, featureSet, monitor, clickhouse, clock, instruments } = deps
  const { paneMs, windowMs, minRows } = monitor
  let standing: Standing | null = null

  async function stand({ profile, content }: ProfileEntry): Promise<Standing> {
    if (standing?.of.profile === profile) return standing
    if (content.featureSet !== featureSet) instruments.otherFeatures({ profile, featureSet })
    const of = { pipeline, profile, paneMs, windowMs, content }
    standing = {
      of,
      scorer: createWindowScorer(content, minRows),
      due: new Set(await unscoredWindows(clickhouse, of)),
      open: new Set(await openWindows(clickhouse, of)),
      scoredAt: new Map(),
      unchecked: new Set(),
      lanes: null,
      checkedAt: clock.monotonic(),
    }
    return standing
  }

  async function lanesOf(now: Standing): Promise<Lanes> {
    if (now.lanes === null || clock.monotonic() - now.lanes.at >= LANES_EVERY_MS) {
      now.lanes = { all: await storedLanes(clickhouse, pipeline), at: clock.monotonic() }
    }
    return now.lanes.all
  }

  function touched(now: Standing, panes: readonly number[]): void {
    for (const pane of panes) {
      now.due.add(Math.floor(pane / windowMs) * windowMs)
      now.unchecked.add(pane)
    }
  }

  async function score(now: Standing, seenUntil: number): Promise<boolean> {
    const isClosed = (start: number): boolean => seenUntil >= start + windowMs + paneMs
    for (const start of now.open) if (isClosed(start)) now.due.add(start)
    const at = clock.monotonic()
    const ready = [...now.due]
      .filter((start) => isClosed(start) || at - (now.scoredAt.get(start) ?? Number.NEGATIVE_INFINITY) >= OPEN_EVERY_MS)
      .sort((a, b) => a - b)
    const windows = ready.slice(0, WINDOWS_AT_ONCE).map((start) => ({ start, closed: isClosed(start) }))
    await storeScores(clickhouse, now.of, now.scorer, windows)
    for (const { start, closed } of windows) {
      now.due.delete(start)
      if (closed) {
        now.open.delete(start)
        now.scoredAt.delete(start)
      } else {
        now.open.add(start)
        now.scoredAt.set(start, at)
      }
    }
    instruments.scored(windows.length)
    return ready.length > windows.length
  }

  /** What was computed lately is compared with its predictions; a pane that differs is computed anew. */
  async function reconcile(now: Standing): Promise<void> {
    if (now.unchecked.size === 0 || clock.monotonic() - now.checkedAt < RECONCILE_EVERY_MS) return
    now.checkedAt = clock.monotonic()
    const panes = [...now.unchecked].sort((a, b) => a - b).slice(0, RECONCILED_AT_ONCE)
    const { faults } = await reconcilePanes(clickhouse, now.of, await lanesOf(now), panes)
    for (const pane of panes) now.unchecked.delete(pane)
    if (faults.length === 0) return
    instruments.differ(faults)
    const wrong = faults.map(({ pane }) => pane).sort((a, b) => a - b)
    touched(now, wrong)
    await replacePanes(clickhouse, now.of, wrong, await serverTime(clickhouse))
  }

  return {
    name: 'features',
    begin() {
      standing = null
    },
    async round({ profile, seenUntil }: DriftRound) {
      if (profile === null || seenUntil === null) {
        standing = null
        return false
      }
      const now = await stand(profile)
      const { panes, behind } = await catchUp(clickhouse, now.of, await lanesOf(now))
      touched(now, panes)
      instruments.computed(panes.length, behind)
      const isMore = await score(now, seenUntil)
      if (behind === 0) await reconcile(now)
      return behind > 0 || isMore
    },
  }
}
