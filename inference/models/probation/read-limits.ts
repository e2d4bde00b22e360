import { readConfig } from '../../../infra/runtime/config.ts'
import { INFERENCE } from '../../config.ts'
import { DEFAULT_LIMITS, type ProbationLimits } from './probation.ts'

/** Of a version that is to serve: its largest batch is the largest that inference may make of its rows. Throws `invalid_config` (crash). */
export function readLimits(env: NodeJS.ProcessEnv, allowed: ProbationLimits['allowed']): ProbationLimits {
  const { maxRows, maxBytes } = readConfig({ maxRows: INFERENCE.maxRows, maxBytes: INFERENCE.maxBytes }, env)
  return { ...DEFAULT_LIMITS, rows: maxRows, batchBytes: maxBytes, allowed }
}
