import { performance } from 'node:perf_hooks'
import { expect, onTestFinished, test } from 'vitest'
import { createInlineExecutor } from '../../inference/execution/inline-executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { paddedModel } from '../../inference/execution/providers/padded.ts'
import { processExecutor } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { FEATURES, ORDINARY } from '../support/onnx/hostile-models.ts'

const BUSY_MS = 100
const RUNS = 5

const executors = {
  inline: () => createInlineExecutor({ provider: 'cpu' }),
  process: () => processExecutor(),
}

test.each([
  ['inline', []],
  ['inline', [4]],
  ['process', []],
  ['process', [4]],
] as const)('a run (%s) does not count what it waits for the thread, padded to %j', async (kind, buckets) => {
  const executor = executors[kind]()
  onTestFinished(() => executor.close())
  const model = await executor.prepare(versionOf(ORDINARY))
  const run = isolateRows({
    model: paddedModel(model, buckets),
    provider: 'cpu',
    quarantine: null,
    expectedMs: () => 0,
  })
  // shows what a child's hand-over takes
  await run(new Float32Array(FEATURES).fill(1))
  const took: number[] = []
  for (let runs = 0; runs < RUNS; runs++) {
    const startedAt = performance.now()
    // in the queue of immediates before the run, and the thread is busy behind its submission, too
    setImmediate(busy)
    const result = run(new Float32Array(FEATURES).fill(1))
    busy()
    took.push((await result).runMs ?? Number.NaN)
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(2 * BUSY_MS)
  }
  expect(Math.min(...took)).toBeGreaterThan(0)
  // what others take from a run on a busy machine is not what it waits for here: that would be in every one of them
  expect(Math.min(...took)).toBeLessThan(BUSY_MS / 2)
})

function busy(): void {
  const until = performance.now() + BUSY_MS
  while (performance.now() < until);
}
