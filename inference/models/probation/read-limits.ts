import { readConfig } from '../../../infra/runtime/config.ts'
import { INFERENCE } from '../../config.ts'
import { DEFAULT_LIMITS, type ProbationLimits } from './probation.ts'

/** Of a version that is to serve: its batches are as large as inference makes them here. Throws `invalid_config` (crash). */
export function readLimits(env: NodeJS.ProcessEnv, allowed: ProbationLimits['allowed']): ProbationLimits {
  const { maxRows } = readConfig({ maxRows: INFERENCE.maxRows }, env)
  return { ...DEFAULT_LIMITS, rows: maxRows, allowed }
}
