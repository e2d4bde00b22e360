import { onTestFinished } from 'vitest'
import type { Executor, PreparedModel } from '../../inference/execution/executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { createProcessExecutor, type ProcessExecutorOptions } from '../../inference/execution/process-executor.ts'
import { createQuarantine } from '../../inference/execution/quarantine.ts'
import type { RunResult, RunRows } from '../../inference/execution/run-rows.ts'
import { type Logger, silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { type ModelVersion, versionOf } from './model-version.ts'
import { FEATURES } from './onnx/hostile-models.ts'

/** A process executor that is closed after the test. */
export function processExecutor(options: Partial<ProcessExecutorOptions> = {}): Executor {
  const executor = createProcessExecutor({ provider: 'cpu', logger: silentLogger, expectedMs: () => 0, ...options })
  onTestFinished(() => executor.close())
  return executor
}

export interface IsolatedModel {
  readonly executor: Executor
  readonly model: PreparedModel
  readonly run: RunRows
}

/** A model in a child, with a quarantine of its own. */
export async function isolatedModel(
  version: ModelVersion,
  options: Partial<ProcessExecutorOptions> & { readonly logger?: Logger } = {},
): Promise<IsolatedModel> {
  const executor = processExecutor(options)
  const quarantine = createQuarantine({
    open: (leastMs) =>
      createProcessExecutor({
        ...{ provider: 'cpu', logger: silentLogger, expectedMs: () => 0 },
        ...options,
        ...(leastMs === undefined ? {} : { minTimeoutMs: leastMs }),
      }),
  })
  onTestFinished(() => quarantine.close())
  const model = await executor.prepare(versionOf(version))
  return { executor, model, run: isolateRows({ model, provider: 'cpu', quarantine, expectedMs: () => 0 }) }
}

/** Rows with these first features, and 2 and 3. */
export function rowsOf(firsts: readonly number[]): Float32Array {
  const rows = new Float32Array(firsts.length * FEATURES)
  for (const [row, first] of firsts.entries()) rows.set([first, 2, 3], row * FEATURES)
  return rows
}

/** Of each row its only output, or the reason why it has none. */
export function endsOf({ outputs, failures }: RunResult): readonly (number | string)[] {
  return Array.from(outputs, (output, row) => failures.get(row)?.reason ?? output)
}
