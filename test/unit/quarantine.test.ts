/** Replays in a child: whose model answers, and what is kept. */
import { expect, onTestFinished, test } from 'vitest'
import type { Executor } from '../../inference/execution/executor.ts'
import { createQuarantine } from '../../inference/execution/quarantine.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { processExecutor, rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { FEATURES, ORDINARY } from '../support/onnx/hostile-models.ts'

/** Of the same model file; the score is `weight` times the mean, and the weight is kept beside it. */
function weighted(version: string, weight: number): ModelManifest {
  const { model } = ORDINARY
  const values = Float32Array.of(weight)
  return versionOf({
    ...ORDINARY,
    model: {
      ...model,
      nodes: [
        { operator: 'ReduceMean', inputs: ['features'], outputs: ['mean'], attributes: { axes: [1], keepdims: 1 } },
        { operator: 'Mul', inputs: ['mean', 'weight'], outputs: ['score'] },
      ],
      weights: [{ name: 'weight', shape: [1], values, external: 'weights.bin' }],
    },
    golden: [{ features: [1, 2, 3], outputs: [2 * weight] }],
    beside: { 'weights.bin': Buffer.from(values.buffer) },
    more: { version },
  })
}

function quarantined() {
  const opened: Executor[] = []
  const quarantine = createQuarantine({
    open() {
      const executor = processExecutor()
      opened.push(executor)
      return executor
    },
  })
  onTestFinished(() => quarantine.close())
  return { quarantine, models: () => opened.map((executor) => executor.stats().models) }
}

test('versions that have a model file in common are answered by their own weights', async () => {
  const { quarantine } = quarantined()
  const [first, second] = [weighted('1', 1), weighted('2', 100)]
  expect(first.sha256).toBe(second.sha256)
  for (const [manifest, scores] of [
    [first, [2, 3]],
    [second, [200, 300]],
    [first, [2, 3]],
  ] as const) {
    const replay = await quarantine.replay(manifest, rowsOf([1, 4]))
    expect(Array.from(replay?.outputs ?? [])).toEqual(scores)
  }
})

test('a model that is forgotten is freed when its replay is over, and loaded again on demand', async () => {
  const { quarantine, models } = quarantined()
  const manifest = versionOf(ORDINARY)
  await quarantine.replay(manifest, rowsOf([1]))
  const replay = quarantine.replay(manifest, new Float32Array(64 * FEATURES))
  quarantine.forget(manifest)
  expect((await replay)?.outputs).toHaveLength(64)
  expect(models()).toEqual([0])
  expect((await quarantine.replay(manifest, rowsOf([1])))?.failures.size).toBe(0)
  expect(models()).toEqual([1])
  quarantine.forget(manifest)
  await expect.poll(models).toEqual([0])
})

test('a quarantine that is closed starts no child any more', async () => {
  const { quarantine, models } = quarantined()
  await quarantine.close()
  await expect(quarantine.replay(versionOf(ORDINARY), rowsOf([1]))).rejects.toMatchObject({ fate: 'retry' })
  expect(models()).toEqual([])
})
