import { integerVariable } from '../infra/runtime/config.ts'

export const INGEST = {
  checkIntervalMs: integerVariable(
    'MILLRACE_INGEST_CHECK_MS',
    'How often the events topic and the registry are asked whether they answer, ms',
    5_000,
    { min: 100, max: 300_000 },
  ),
} as const
