import { performance } from 'node:perf_hooks'
import { expect, onTestFinished, test } from 'vitest'
import { createInlineExecutor } from '../../inference/execution/inline-executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { paddedModel } from '../../inference/execution/providers/padded.ts'
import { versionOf } from '../support/model-version.ts'
import { FEATURES, ORDINARY } from '../support/onnx/hostile-models.ts'

const BUSY_MS = 40

test.each([[[]], [[4]]])('a run does not count what it waits for the thread, padded to %j', async (buckets) => {
  const executor = createInlineExecutor({ provider: 'cpu' })
  onTestFinished(() => executor.close())
  const model = await executor.prepare(versionOf(ORDINARY))
  const run = isolateRows({
    model: paddedModel(model, buckets),
    provider: 'cpu',
    quarantine: null,
    expectedMs: () => 0,
  })
  const startedAt = performance.now()
  // in the queue of immediates before the run, and the thread is busy behind its submission, too
  setImmediate(busy)
  const result = run(new Float32Array(FEATURES).fill(1))
  busy()
  const { runMs } = await result
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(2 * BUSY_MS)
  expect(runMs).toBeGreaterThan(0)
  expect(runMs).toBe(model.lastRunMs)
  expect(runMs).toBeLessThan(BUSY_MS / 2)
})

function busy(): void {
  const until = performance.now() + BUSY_MS
  while (performance.now() < until);
}
