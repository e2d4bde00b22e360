import { z } from 'zod'
import { integerVariable, type Variable } from '../infra/runtime/config.ts'
import { MODEL_STORE } from './models/store/config.ts'

export const MIB = 1_048_576
/** Batches of a hop that are in work at once: one is decoded while another is scored. */
export const BATCHES_AT_ONCE = 4

const executor: Variable<'auto' | 'inline' | 'process'> = {
  name: 'MILLRACE_INFERENCE_EXECUTOR',
  about: 'Where models run: inline (in this process), process (in a child), or auto, by what they cost',
  fallback: 'auto',
  optional: false,
  parse: z.enum(['auto', 'inline', 'process']) as z.ZodType<'auto' | 'inline' | 'process', string>,
}

const gpu: Variable<string> = {
  name: 'CUDA_VISIBLE_DEVICES',
  about: 'The GPU of a process that uses one; one process owns it',
  fallback: '0',
  optional: false,
  parse: z.string().min(1),
}

export const INFERENCE = {
  maxRows: integerVariable('MILLRACE_INFERENCE_MAX_ROWS', 'Most rows in one run of the model', 4_096, {
    min: 1,
    max: 65_536,
  }),
  maxBytes: integerVariable('MILLRACE_INFERENCE_MAX_BYTES', 'A batch of this size does not wait for more', 8_388_608, {
    min: 1_024,
    max: 1_073_741_824,
  }),
  maxLingerMs: integerVariable(
    'MILLRACE_INFERENCE_LINGER_MS',
    'Longest time that a micro-batch waits for more rows where that saves CPU, ms; 0 = never',
    2,
    { min: 0, max: 10_000 },
  ),
  executor,
  gpu,
  childMemoryMb: integerVariable(
    'MILLRACE_INFERENCE_CHILD_MEMORY_MB',
    'Resident memory above which a child process that runs models is killed, MiB',
    4_096,
    { min: 64, max: 1_048_576 },
  ),
  modelsMemoryMb: integerVariable(
    'MILLRACE_INFERENCE_MODELS_MEMORY_MB',
    'Memory for loaded versions, MiB; above it the least recently used ones make room',
    2_048,
    { min: 16, max: 1_048_576 },
  ),
  predictionCacheMb: integerVariable(
    'MILLRACE_INFERENCE_CACHE_MB',
    'Answers of each version kept for rows that come again, MiB, where that can pay; 0 = none',
    0,
    { min: 0, max: 65_536 },
  ),
  ...MODEL_STORE,
} as const
