import type { Executor } from './executor.ts'
import type { Provider } from './run-rows.ts'

export interface ExecutorQuestion {
  /** `auto` = by the rest of this. */
  readonly mode: 'auto' | Executor['kind']
  readonly provider: Provider
  /** It has passed its probation: it neither hung nor crashed. */
  readonly isProven: boolean
  /** What a run of the largest batch takes, ms; null = not measured. */
  readonly longestRunMs: number | null
}

/** The longest that a run may keep this process from everything else. */
const BLOCKS_FOR_MS = 5

/** Where a version runs: in this process only what is quick there, and known to end. */
export function chooseExecutor({ mode, provider, isProven, longestRunMs }: ExecutorQuestion): Executor['kind'] {
  if (mode !== 'auto') return mode
  if (provider === 'cuda' || !isProven) return 'process'
  return longestRunMs !== null && longestRunMs <= BLOCKS_FOR_MS ? 'inline' : 'process'
}
