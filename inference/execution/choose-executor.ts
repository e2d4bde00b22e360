import { EVENT_LOOP_MS } from '../batching/batch-policy.ts'
import type { Executor } from './executor.ts'
import type { Provider } from './run-rows.ts'

export interface ExecutorQuestion {
  /** `auto` = by the rest of this. */
  readonly mode: 'auto' | Executor['kind']
  readonly provider: Provider
  /** It has passed its probation: it neither hung nor crashed. */
  readonly isProven: boolean
  /** What a run takes from which a larger one gains little, ms; null = not measured. */
  readonly longestRunMs: number | null
}

/** Where a version runs: in this process only what is quick there, and known to end. */
export function chooseExecutor({ mode, provider, isProven, longestRunMs }: ExecutorQuestion): Executor['kind'] {
  if (mode !== 'auto') return mode
  if (provider === 'cuda' || !isProven) return 'process'
  return longestRunMs !== null && longestRunMs <= EVENT_LOOP_MS ? 'inline' : 'process'
}
