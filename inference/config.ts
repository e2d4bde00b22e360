import { integerVariable } from '../infra/runtime/config.ts'

export const INFERENCE = {
  maxRows: integerVariable('MILLRACE_INFERENCE_MAX_ROWS', 'Most rows in one run of the model', 1_024, {
    min: 1,
    max: 65_536,
  }),
  maxBytes: integerVariable('MILLRACE_INFERENCE_MAX_BYTES', 'A batch of this size does not wait for more', 8_388_608, {
    min: 1_024,
    max: 1_073_741_824,
  }),
  // waiting adds latency and no throughput: a busy model finds larger batches by itself
  lingerMs: integerVariable('MILLRACE_INFERENCE_LINGER_MS', 'How long a smaller batch waits for more, ms', 0, {
    min: 0,
    max: 10_000,
  }),
} as const
