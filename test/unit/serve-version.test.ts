/** A version on several providers at once, on hosts that tell what they are asked. */
import { expect, onTestFinished, test } from 'vitest'
import type { Executor } from '../../inference/execution/executor.ts'
import { createExecutors, type ExecutorPurpose, type Executors } from '../../inference/execution/executors.ts'
import { processUsage } from '../../inference/execution/process-usage.ts'
import type { Provider } from '../../inference/execution/run-rows.ts'
import { serveVersion } from '../../inference/models/serve-version.ts'
import type { ServeSettings } from '../../inference/models/served-as.ts'
import type { OpenedVersion } from '../../inference/models/version-cache.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import { childPid } from '../support/child-pid.ts'
import { eventually } from '../support/eventually.ts'
import { rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { ORDINARY } from '../support/onnx/hostile-models.ts'

/** A GPU that is worth its start from 47 rows on. */
const PROFILES = [
  { provider: 'cuda', fixedUs: 400, rowUs: 1.8, tail: 1.5 },
  { provider: 'cpu', fixedUs: 10, rowUs: 10, tail: 1.5 },
] as const
const PROVIDERS: readonly Provider[] = ['cuda', 'cpu']
/** What a host of a provider answers to each row. */
const ANSWERS: Readonly<Record<Provider, number>> = { cpu: 1, cuda: 2 }

/** No child has less. */
const CHILD_BYTES = 30_000_000
/** What a host of a provider has, where it is a child. */
const RESIDENT: Readonly<Record<Provider, number>> = { cpu: 2e8, cuda: 5e8 }

function serve(
  executors: Executors,
  executor: ServeSettings['executor'],
  purpose: ExecutorPurpose = 'answers',
  { profiles = PROFILES as readonly ModelProfile[], predictionCacheBytes = 0, providers = PROVIDERS } = {},
): Promise<OpenedVersion> {
  return serveVersion(
    { manifest: versionOf(ORDINARY), profiles, purpose },
    {
      choice: {
        ...{ name: 'm', alias: 'production', directory: '', output: { tensor: 'y', index: 0 } },
        ...{ budgetMs: 1_000, deadlineMs: null, provider: { name: 'cuda', demand: 'prefer' }, fallback: null },
      },
      providers,
      executors,
      settings: { maxRows: 1_024, maxBytes: 2 ** 20, maxLingerMs: 0, executor, predictionCacheBytes },
      clock: systemClock,
      logger: silentLogger,
      observer: { released: () => {}, looked: () => {} },
    },
  )
}

function executorsInTest(): Executors {
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  onTestFinished(() => executors.close())
  return executors
}

/** Hosts of any provider, without a GPU. */
function hosts() {
  const prepared: Pick<Executor, 'kind' | 'provider'>[] = []
  let running = 0
  let most = 0
  const host = (kind: Executor['kind'], provider: Provider, depth: number): Executor => ({
    kind,
    provider,
    depth,
    async prepare(manifest) {
      prepared.push({ kind, provider })
      return {
        manifest,
        async run(rows) {
          most = Math.max(most, ++running)
          await systemClock.sleep(1)
          running--
          const count = rows.length / manifest.input.features.length
          return { outputs: new Float32Array(count).fill(ANSWERS[provider]), tookMs: 1 }
        },
        retire: async () => {},
      }
    },
    stats: () => ({
      ...{ models: 1, runs: 0, restarts: { crash: 0, timeout: 0, memory: 0, killed: 0, recycled: 0 } },
      residentBytes: kind === 'inline' ? null : RESIDENT[provider],
    }),
    close: async () => {},
  })
  const executors: Executors = {
    ...executorsInTest(),
    inline: (provider) => host('inline', provider, 1),
    child: (_purpose, provider) => host('process', provider, 2),
  }
  return { executors, prepared, most: () => most }
}

test.each<[ServeSettings['executor'], ExecutorPurpose, Executor['kind'], number]>([
  ['auto', 'answers', 'process', 2],
  ['inline', 'answers', 'inline', 1],
  ['process', 'answers', 'process', 2],
  ['inline', 'shadow', 'process', 2],
])(
  'a GPU and the CPU beside it, %s for %s: both %s, and each answer names the one that gave it',
  async (mode, purpose, kind, slots) => {
    const { executors, prepared, most } = hosts()
    const { version, close } = await serve(executors, mode, purpose)
    expect(prepared).toEqual([
      { kind, provider: 'cuda' },
      { kind, provider: 'cpu' },
    ])
    const ask = (rows: number) =>
      version.batcher.submit({
        lane: `of ${rows}`,
        rows: rowsOf(new Array<number>(rows).fill(1)),
        arrivedAt: systemClock.monotonic(),
        deadline: Number.POSITIVE_INFINITY,
      })
    const [few, many] = [await ask(1), await ask(1_000)]
    await Promise.all([ask(1_000), ask(1_000), ask(1_000)])
    for (const [{ outputs, parts }, provider] of [
      [few, 'cpu'],
      [many, 'cuda'],
    ] as const) {
      expect(new Set(parts.map((part) => part.provider))).toEqual(new Set([provider]))
      expect(new Set(outputs)).toEqual(new Set([ANSWERS[provider]]))
    }
    expect(most()).toBe(slots)
    await close()
  },
)

test('a GPU that is not there does not become the CPU of this process', async () => {
  const refused = serve(executorsInTest(), 'inline')
  await expect(refused).rejects.toMatchObject({ code: 'provider_missing', fate: 'crash' })
})

test('a version in children takes what they have, and what is kept of answers once for each provider that keeps them', async () => {
  const { executors } = hosts()
  const children = RESIDENT.cpu + RESIDENT.cuda
  const [plain, inline] = [await serve(executors, 'process'), await serve(executors, 'inline')]
  expect([plain.bytes(), plain.staysIdle]).toEqual([children, true])
  expect(inline.bytes()).toBeLessThan(100_000)
  const keeping = await serve(executors, 'process', 'shadow', { predictionCacheBytes: 1e6 })
  expect([keeping.bytes(), keeping.staysIdle]).toEqual([children + 2e6, false])
  const profiles = PROFILES.map((profile) => (profile.provider === 'cuda' ? { ...profile, rowUs: 0.1 } : profile))
  expect((await serve(executors, 'process', 'answers', { predictionCacheBytes: 1e6, profiles })).bytes()).toBe(
    children + 1e6,
  )
})

test('what a child takes is told as it is, and is no less while nobody can tell', async () => {
  const executors = executorsInTest()
  const of = { profiles: [], providers: ['cpu'] as const }
  const { version, bytes, close } = await serve(executors, 'process', 'answers', of)
  expect(bytes()).toBeGreaterThan(CHILD_BYTES)
  const pid = childPid()
  const residentBytes = async (): Promise<number> => (await processUsage(pid))?.residentBytes ?? bytes()
  const features = new Float32Array(3 * 2 ** 20)
  await version.batcher.submit({ lane: 'a', rows: features, arrivedAt: 0, deadline: Number.POSITIVE_INFINITY })
  await eventually(async () => expect(Math.abs(bytes() - (await residentBytes()))).toBeLessThan(1e6), {
    deadlineMs: 30_000,
  })
  process.kill(pid, 'SIGKILL')
  await eventually(() => expect(childPid()).not.toBe(pid), { deadlineMs: 30_000 })
  expect(bytes()).toBeGreaterThan(CHILD_BYTES)
  await close()
})
