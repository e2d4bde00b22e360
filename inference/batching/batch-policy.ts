import type { Provider } from '../execution/run-rows.ts'
import type { CostFit } from './cost-fit.ts'
import { bytesOfRow, largestBatch } from './largest-batch.ts'
import { createLingerRule } from './linger-rule.ts'
import type { ReleaseReason } from './micro-batcher.ts'

export interface BatchPolicyOptions {
  readonly fit: CostFit
  /** Share of the latency objective that this model may use, ms. */
  readonly budgetMs: number
  /** Runs that may be under way at once. */
  readonly slots: number
  /** Whether a run blocks the thread that reads sockets. */
  readonly inline: boolean
  /** Floats of a row, in and out. */
  readonly width: number
  readonly outputWidth: number
  /** What the model is given for a row, where that is not the row itself, bytes; 0 = it is. */
  readonly packedBytes: number
  /** Second cache of a processor, bytes. */
  readonly cacheBytes: number
  /** Hard ceilings of a batch, whatever was measured. */
  readonly bounds: { readonly maxRows: number; readonly maxBytes: number }
  /** Longest time to wait for more rows, ms; 0 = never. 2 unless given. */
  readonly maxLingerMs?: number
  /** How long this thread has been busy since it began, ms; unless given, the model's runs are all that it is known to do. */
  readonly activeMs?: () => number
}

/** Rows that could be run now. */
export interface QueueState {
  readonly now: number
  readonly rows: number
  /** Runs under way. */
  readonly running: number
  /** When the row that waits longest began to wait for a run, monotonic ms. */
  readonly since: number
  /** The earliest time at which an answer is wanted, monotonic ms. */
  readonly deadline: number
}

/** What is decided, and what it rests on. */
export interface BatchFigures {
  readonly cap: number
  /** n90: rows from which a run has 90 % of the throughput that the model can have. */
  readonly efficientRows: number
  /** Most rows that can be answered within the budget; 0 = not even one. */
  readonly budgetRows: number
  /** `budgetRows` is below `efficientRows`: within its budget the model wastes CPU. It wants more time, or more executors. */
  readonly overBudget: boolean
  readonly lingerMs: number
}

/**
 * When a micro-batch leaves and how large it may be. It holds no rows, timers or clocks; all times are monotonic ms that it is
 * told. Work-conserving: what is queued when a run may begin is run; cap and linger are the only exceptions.
 */
export interface BatchPolicy {
  /** Most rows of the next batch, at least 1, with so many queued. */
  cap(queuedRows: number): number
  /** For how long full batches may be run one behind the other before the first is answered, ms, with so many rows queued; 0 = not at all. */
  seriesMs(queuedRows: number): number
  /** Whether so many queued rows, in usual batches one behind the other, take longer than the budget. */
  isLate(queuedRows: number): boolean
  /** Rows of one work that are not copied together with others to make a batch larger. */
  readonly aloneRows: number
  /** Why to run now; or the time to ask again, if nothing happens before: Infinity = when a run has ended. */
  decide(queue: QueueState): ReleaseReason | number
  /** A work with so many rows was queued. */
  arrived(rows: number): void
  /** A batch was released for that reason, with so many rows of at most `cap`, and its run took so long on that provider. */
  ran(rows: number, cap: number, reason: ReleaseReason, ms: number, provider: Provider): void
  /** There was not the memory for so many rows: no batch has more than half of them for now; twice as many are tried later. */
  tooMany(rows: number, provider: Provider): void
  figures(): BatchFigures
}

/** Of one provider. */
export interface ProviderPolicy extends BatchPolicy {
  /** A full batch that this policy may have decided on was run by another provider. */
  ranElsewhere(): void
}

/**
 * A run on the thread that reads sockets ends within this, ms: heartbeats and requests wait no longer. Enough for 500 trees to walk
 * 128 rows at once, also on a busy machine. Where a alone is longer, small batches would not help: then 2a, half of what the
 * model can do.
 */
export const EVENT_LOOP_MS = 7
/** Gathering a row and handing out its outputs, ms per byte: 120 bytes took 20 ns. */
const COPY_MS_PER_BYTE = 0.15e-6
/** What a run costs beside the model, ms of CPU: turns of the event loop, promises, and for a child the hand-over, on both sides. */
const TURN_MS = 0.03
const HAND_OVER_MS = 0.2
/** Larger batches gain less than 2 % by the formula, and no more in a forest, which gains more than the formula knows: it walks tree by tree. */
const LARGEST = 8
/**
 * Most batches that are run before they are answered. What is done for a batch costs 45 µs of CPU between two runs of a model that
 * takes the processor's caches, and half of it for each one behind; a fifth would gain 2 %.
 */
export const LONGEST_SERIES = 4
/** How long they may take together, ms: where a run takes longer, there is nothing to save. */
const SERIES_MS = 3
/** Each so-manieth full batch has only a/b rows, where a is half of what it takes: runs of one size do not tell a from b. */
const PROBE_EVERY = 64
const PROBE_PART = 4
const BACK_OFF = 0.9
/**
 * Rows, what is packed of them, and outputs in a processor's second cache beside what the model keeps of them there: on twice as
 * many an MLP lost a seventh of its peak, an embedding 4 %. What rows are packed from is a copy that takes their place.
 */
const CACHED_PART = 0.5
/**
 * ONNX Runtime walks a forest for so many rows at a time: 500 trees had 0.94 of their peak on 128 rows, 0.89 on 160, 0.95 on 256.
 * What has a larger n90 is none.
 */
const WALKED_ROWS = 128
/**
 * So long after memory did not suffice twice as many rows are tried, ms: what took it may be gone. Each time that it does not suffice
 * again it takes twice as long, since each time may cost a child.
 */
const RAISE_MS = 10_000
const LONGEST_RAISE_MS = 3_600_000
/** A timer fires so much late, ms. */
const TIMER_MS = 1

/**
 * Formulas, with L(n) = a + b·n, q = p99 / p50, B = budget:
 *
 *   n90   = 9a/b                       rows / L(rows) is 90 % of its limit 1/b
 *   n_slo = ((B / ((s+1)·q)) − a) / b  a row may wait for the s runs before it and takes part in its own, each of at most
 *                                      q·L(n) (Nexus, SOSP '19: 2·L(n) ≤ SLO for s = 1)
 *   n_2   = L2 / 2 / bytes of a row    rows that stay in a processor's second cache, with what is packed of them
 *   cap   = min(8·n90, max(n90, n_2), n_slo, guard, ceilings), at least 1; with n90 < 128 ≤ cap a multiple of 128
 *   series = min(B / ((s+1)·q), 3 ms)  on the thread that reads sockets: as many full batches as fit into it, at most 4
 *   alone = 1 / (c/(a+o) + 1/cap)      rows from which a run of their own, (a+o)/rows more, costs less than to copy them for
 *                                      one of `cap` rows; c = copy of a row, o = what a run costs beside the model
 *   guard                              AIMD (Clipper, NSDI '17): a run over B/2 → 0.9 · cap; a full one in time → + n90/16;
 *                                      small ones that tell a from b do not count
 *
 * With more queued than can be answered in time at that cap every row would be late, each later than the last: then the cap is
 * the efficient one, of 8·n90, until the queue is short again.
 */
export function createBatchPolicy(options: BatchPolicyOptions): ProviderPolicy {
  const { fit, budgetMs, slots, inline, width, outputWidth, packedBytes, cacheBytes, bounds } = options
  const { maxLingerMs = 2, activeMs } = options
  if (!(bounds.maxRows >= 1 && bounds.maxBytes > 0 && budgetMs > 0)) throw new RangeError('a batch needs bounds')
  const rowBytes = bytesOfRow(width, outputWidth)
  const most = largestBatch(rowBytes, bounds)
  let ceiling = most
  let raiseMs = RAISE_MS / 2
  let raisesAt = Number.POSITIVE_INFINITY
  let lastNow = 0
  const linger = createLingerRule({ fit, maxMs: Math.min(maxLingerMs, budgetMs / 10), inline, activeMs })
  let guard = ceiling
  /** Full batches since the last one that had only a/b rows. */
  let full = 0

  const efficientRows = (): number => (9 * fit.fixedMs) / fit.rowMs
  const rowsWithin = (ms: number): number => Math.max(0, (ms - fit.fixedMs) / fit.rowMs)
  /** What a run may take, for the rows that wait for it. */
  const withinMs = (): number => budgetMs / ((slots + 1) * fit.tail)
  const budgetRows = (): number => Math.floor(rowsWithin(withinMs()))

  function whole(rows: number): number {
    const unit = rows >= WALKED_ROWS && efficientRows() < WALKED_ROWS ? WALKED_ROWS : 1
    return Math.max(1, Math.floor(rows / unit) * unit)
  }

  function efficientCap(): number {
    const loop = inline ? rowsWithin(Math.max(EVENT_LOOP_MS, 2 * fit.fixedMs)) : ceiling
    const efficient = efficientRows()
    const cached = Math.max(efficient, (CACHED_PART * cacheBytes) / (rowBytes + packedBytes))
    return whole(Math.min(LARGEST * efficient, cached, loop, ceiling))
  }

  function usualCap(): number {
    return whole(Math.min(efficientCap(), budgetRows(), guard))
  }

  function isLateAt(usual: number, queuedRows: number): boolean {
    return (queuedRows / usual) * fit.predictMs(usual) > budgetMs
  }

  function cap(queuedRows: number): number {
    const usual = usualCap()
    const wanted = isLateAt(usual, queuedRows) ? efficientCap() : usual
    return full < PROBE_EVERY - 1 ? wanted : Math.ceil(Math.min(wanted / PROBE_PART, fit.fixedMs / fit.rowMs))
  }

  function isLate(queuedRows: number): boolean {
    return isLateAt(usualCap(), queuedRows)
  }

  function seriesMs(queuedRows: number): number {
    // a small batch comes by itself; and where runs take longer than they should, each is answered for itself
    if (!inline || full + LONGEST_SERIES >= PROBE_EVERY || guard < efficientCap()) return 0
    return isLate(queuedRows) ? SERIES_MS : Math.min(SERIES_MS, withinMs())
  }

  function countFull(): void {
    full = full < PROBE_EVERY - 1 ? full + 1 : 0
  }

  function raise(now: number): void {
    ceiling = Math.min(2 * ceiling, most)
    guard = Math.max(guard, ceiling)
    raisesAt = ceiling < most ? now + raiseMs : Number.POSITIVE_INFINITY
  }

  return {
    cap,
    seriesMs,
    isLate,
    get aloneRows() {
      const runMs = fit.fixedMs + (inline ? TURN_MS : HAND_OVER_MS)
      return 1 / ((rowBytes * COPY_MS_PER_BYTE) / runMs + 1 / usualCap())
    },
    decide({ now, rows, running, since, deadline }) {
      lastNow = now
      if (now >= raisesAt) raise(now)
      if (rows >= cap(rows)) return 'full'
      // handed over before it can begin, it could still have grown
      if (running > 0 && rows < efficientRows()) return Number.POSITIVE_INFINITY
      const lingerMs = linger.ms(now)
      if (lingerMs === 0 || rows >= efficientRows()) return 'drained'
      const lingered = since + lingerMs
      const latest = deadline - fit.tail * fit.predictMs(rows) - TIMER_MS
      if (now < lingered && now < latest) {
        linger.waits(rows)
        return Math.min(lingered, latest)
      }
      return latest < lingered ? 'deadline' : 'linger'
    },
    arrived: (rows) => linger.arrived(rows),
    ran(rows, capped, reason, ms) {
      const efficient = efficientRows()
      const isProbe = capped < usualCap() / 2
      if (!isProbe && ms > budgetMs / 2) guard = Math.max(1, Math.min(guard, capped) * BACK_OFF)
      else if (!isProbe && reason === 'full') guard = Math.min(ceiling, guard + Math.max(1, efficient / 16))
      if (reason === 'full') countFull()
      linger.ran(rows, ms)
      fit.observe(rows, ms)
    },
    tooMany(rows) {
      ceiling = Math.max(1, Math.min(ceiling, Math.floor(rows / 2)))
      guard = Math.min(guard, ceiling)
      raiseMs = Math.min(2 * raiseMs, LONGEST_RAISE_MS)
      raisesAt = lastNow + raiseMs
    },
    ranElsewhere: countFull,
    figures() {
      const efficient = Math.ceil(efficientRows())
      const within = budgetRows()
      const lingerMs = linger.current
      return { cap: usualCap(), efficientRows: efficient, budgetRows: within, overBudget: within < efficient, lingerMs }
    },
  }
}
