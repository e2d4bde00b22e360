import type { Clock } from '../../../infra/runtime/clock.ts'
import { describeError } from '../../../infra/runtime/errors.ts'
import type { Logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { Provider, RunRows } from '../run-rows.ts'
import type { ProviderLoad } from './provider-load.ts'

export interface ProviderCost {
  /** A run of n rows takes fixedMs + rowMs · n. */
  readonly fixedMs: number
  readonly rowMs: number
}

export interface RouteOptions {
  /** Features per row. */
  readonly width: number
  readonly cpu: RunRows
  readonly cuda: RunRows
  /** As fitted now. */
  readonly costs: (provider: Provider) => ProviderCost
  /** The runs of this router are counted there, beside those of others. */
  readonly loads: Readonly<Record<Provider, ProviderLoad>>
  readonly clock: Clock
  readonly logger: Logger
}

export interface ProviderRoute {
  readonly run: RunRows
  /** Where a batch of so many rows would go now. */
  expects(rows: number): Provider
}

/** The other provider has to be better by this share, so that two that are alike do not take turns. */
const HYSTERESIS = 0.2
/** After a change, nothing changes for so long. */
const DWELL_MS = 1_000
/** A provider that failed is not asked again for so long. */
const REST_MS = 10_000
/** A provider that has run nothing for so long is tried with a batch: what it was slow by may be over, and only a run can tell. */
const TRY_MS = 30_000
/** But not where it is expected to take more than so many times as long. */
const WORST_TRY = 4
/** Batches of one power of four of rows are alike: each such class has its own provider. */
const CLASS_BITS = 2

interface Habit {
  provider: Provider
  since: number
}

/**
 * Each batch goes where it is expected to be finished first: what is queued there, and a + b·n. Batches of about one
 * size stay with a provider until the other is better by 20 %, and for a second at least. What fails on one is run on the
 * other, so this is for models that prefer a GPU; one that requires it has that alone.
 */
export function routeByProvider(options: RouteOptions): ProviderRoute {
  const { width, cpu, cuda, costs, loads, clock, logger } = options
  const counted = (provider: Provider, run: RunRows): RunRows =>
    loads[provider].counted(run, (rows) => costOf(provider, rows.length / width))
  const runs = { cpu: counted('cpu', cpu), cuda: counted('cuda', cuda) }
  const habits = new Map<number, Habit>()
  const restsUntil = { cpu: 0, cuda: 0 }
  const ranAt = { cpu: clock.monotonic(), cuda: clock.monotonic() }

  function costOf(provider: Provider, rows: number): number {
    const { fixedMs, rowMs } = costs(provider)
    return fixedMs + rowMs * rows
  }

  function finish(provider: Provider, rows: number): number {
    return loads[provider].busyMs() + costOf(provider, rows)
  }

  function pick(rows: number, habit: Habit | undefined, now: number): Provider {
    const usual = habit?.provider ?? (finish('cuda', rows) < finish('cpu', rows) ? 'cuda' : 'cpu')
    const other = otherThan(usual)
    if (restsUntil[usual] > now && restsUntil[other] <= now) return other
    if (habit === undefined || now - habit.since < DWELL_MS || restsUntil[other] > now) return usual
    return finish(other, rows) >= finish(usual, rows) * (1 - HYSTERESIS) ? usual : other
  }

  function choose(rows: number): Provider {
    const now = clock.monotonic()
    const size = sizeOf(rows)
    const habit = habits.get(size)
    const provider = pick(rows, habit, now)
    // while the other one rests it is no choice
    if (provider !== habit?.provider && restsUntil[otherThan(provider)] <= now)
      habits.set(size, { provider, since: now })
    return orTried(provider, rows, now)
  }

  function orTried(provider: Provider, rows: number, now: number): Provider {
    const other = otherThan(provider)
    if (now - ranAt[other] < TRY_MS || restsUntil[other] > now) return provider
    return finish(other, rows) < WORST_TRY * finish(provider, rows) ? other : provider
  }

  function runOn(provider: Provider, rows: Float32Array): ReturnType<RunRows> {
    ranAt[provider] = clock.monotonic()
    return runs[provider](rows)
  }

  return {
    expects(rows) {
      const now = clock.monotonic()
      return orTried(pick(rows, habits.get(sizeOf(rows)), now), rows, now)
    },
    async run(rows) {
      const provider = choose(rows.length / width)
      try {
        return await runOn(provider, rows)
      } catch (error) {
        const instead = otherThan(provider)
        logger.warn({ ...describeError(error), provider, instead }, 'provider failed, the other one answers')
        restsUntil[provider] = clock.monotonic() + REST_MS
        return runOn(instead, rows)
      }
    },
  }
}

function sizeOf(rows: number): number {
  return Math.floor((32 - Math.clz32(Math.max(rows, 1))) / CLASS_BITS)
}

function otherThan(provider: Provider): Provider {
  return provider === 'cpu' ? 'cuda' : 'cpu'
}
