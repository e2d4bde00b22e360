import { integerVariable } from '../infra/runtime/config.ts'

export const PROCESSORS = {
  maxRows: integerVariable('MILLRACE_PROCESSORS_MAX_ROWS', 'Most events in one batch, all partitions together', 2_048, {
    min: 1,
    max: 100_000,
  }),
  maxBytes: integerVariable('MILLRACE_PROCESSORS_MAX_BYTES', 'A batch of this size does not wait for more', 8_388_608, {
    min: 1_024,
    max: 1_073_741_824,
  }),
  lingerMs: integerVariable('MILLRACE_PROCESSORS_LINGER_MS', 'How long a smaller batch waits for more, ms', 2, {
    min: 0,
    max: 10_000,
  }),
  redisTimeoutMs: integerVariable('MILLRACE_LOOKUP_TIMEOUT_MS', 'Redis counts as down after this long, ms', 500, {
    min: 10,
    max: 60_000,
  }),
  cacheMaxEntries: integerVariable('MILLRACE_LOOKUP_CACHE_ROWS', 'Rows kept in memory per table; 0 = none', 10_000, {
    min: 0,
    max: 10_000_000,
  }),
  cacheTtlMs: integerVariable('MILLRACE_LOOKUP_CACHE_MS', 'How long a row is kept in memory, ms', 1_000, {
    min: 0,
    max: 600_000,
  }),
} as const
