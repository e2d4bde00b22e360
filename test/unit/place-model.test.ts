import { expect, onTestFinished, test } from 'vitest'
import { ModelRunError, type PreparedModel, type RunFault } from '../../inference/execution/executor.ts'
import { createExecutors, type Executors } from '../../inference/execution/executors.ts'
import type { Provider } from '../../inference/execution/run-rows.ts'
import { type PlacedModel, placeModel } from '../../inference/models/place-model.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { versionOf } from '../support/model-version.ts'
import { CIRCLING, CRASHING, HANGING, ORDINARY, POISON } from '../support/onnx/hostile-models.ts'

const PROFILE = { provider: 'cpu', fixedUs: 20, rowUs: 0.1, tail: 1.5 } as const

async function place(
  manifest: ModelManifest,
  options: {
    readonly providers?: readonly Provider[]
    /** Null = it had no probation, as a version in the pipeline's folder. */
    readonly profile?: ModelProfile | null
    readonly executors?: Executors
  } = {},
): Promise<PlacedModel> {
  const { providers = ['cpu'], profile = PROFILE, executors } = options
  const own = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  onTestFinished(() => own.close())
  const profiles = executors === undefined && profile !== null ? [profile] : []
  return placeModel({ manifest, profiles, purpose: 'answers' }, 'cpu', {
    choice: {
      ...{ name: 'm', alias: 'production', directory: '', output: { tensor: 'y', index: 0 } },
      ...{ budgetMs: 20, deadlineMs: null, provider: { name: 'cpu', demand: 'require' }, fallback: null },
    },
    providers,
    executors: executors ?? own,
    settings: { maxRows: 1_024, maxBytes: 2 ** 20, maxLingerMs: 0, executor: 'auto', predictionCacheBytes: 0 },
    clock: systemClock,
    logger: silentLogger,
    observer: { released: () => {}, looked: () => {} },
  })
}

test('a quick model whose operators always end is in this process, unless there is a GPU beside it', async () => {
  expect((await place(versionOf(ORDINARY))).executor.kind).toBe('inline')
  expect((await place(versionOf(ORDINARY), { providers: ['cuda', 'cpu'] })).executor.kind).toBe('process')
})

test.each(Object.entries({ CRASHING, HANGING }))(
  'a model that a row can end or hang is in a child: %s',
  async (_, one) => {
    expect((await place(versionOf(one))).executor.kind).toBe('process')
  },
)

test('a version without probation is followed through its trees: a circle in them ends a child, and not this process', async () => {
  expect((await place(versionOf(ORDINARY), { profile: null })).executor.kind).toBe('inline')
  const { executor, model } = await place(versionOf(CIRCLING), { profile: null })
  expect(executor.kind).toBe('process')
  await expect(model.run(Float32Array.of(POISON, 2, 3))).rejects.toMatchObject({ fault: 'timeout' })
  expect(await model.run(Float32Array.of(1, 2, 3))).toMatchObject({ outputs: Float32Array.of(2) })
})

test('a model that is known to be slow is in a child, and nobody looks into its file for that', async () => {
  const manifest = versionOf(ORDINARY)
  const slow = { ...PROFILE, fixedUs: 8_000 }
  const refused = place({ ...manifest, file: '.' }, { profile: slow })
  await expect(refused).rejects.toMatchObject({ code: 'invalid_model' })
  expect((await place(manifest, { profile: slow })).executor.kind).toBe('process')
})

test.each<[RunFault, string, string]>([
  ['rows', 'invalid_model', 'crash'],
  ['allocation', 'model_unavailable', 'retry'],
  ['crash', 'model_unavailable', 'retry'],
])('a model that cannot be measured for %s is retired', async (fault, code, fate) => {
  const manifest = versionOf(ORDINARY)
  let retired = 0
  const model: PreparedModel = {
    manifest,
    run: () => Promise.reject(new ModelRunError(fault, 'no')),
    retire: async () => void retired++,
  }
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  const inline: Executors = {
    ...executors,
    inline: (provider) => ({ ...executors.inline(provider), prepare: async () => model }),
  }
  await expect(place(manifest, { executors: inline })).rejects.toMatchObject({ code, fate })
  expect(retired).toBe(1)
})
