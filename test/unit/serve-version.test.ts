/** A version on several providers at once, on hosts that tell what they are asked. */
import { expect, onTestFinished, test } from 'vitest'
import type { Executor } from '../../inference/execution/executor.ts'
import { createExecutors, type ExecutorPurpose, type Executors } from '../../inference/execution/executors.ts'
import { processUsage } from '../../inference/execution/process-usage.ts'
import type { Provider } from '../../inference/execution/run-rows.ts'
import { serveVersion } from '../../inference/models/serve-version.ts'
import type { ServeObserver, ServeSettings } from '../../inference/models/served-as.ts'
import type { OpenedVersion } from '../../inference/models/version-cache.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelProfile } from '../../schemas/control/models.ts'
import { childPid } from '../support/child-pid.ts'
import { eventually } from '../support/eventually.ts'
import { rowsOf } from '../support/executor-hosts.ts'
import { manualClock } from '../support/manual-clock.ts'
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
  {
    profiles = PROFILES as readonly ModelProfile[],
    predictionCacheBytes = 0,
    providers = PROVIDERS,
    clock = systemClock,
    released = (() => {}) as ServeObserver['released'],
  } = {},
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
      clock,
      logger: silentLogger,
      observer: { released, looked: () => {} },
    },
  )
}

function executorsInTest(): Executors {
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  onTestFinished(() => executors.close())
  return executors
}

/** As the profiles say. */
const expectedMs = (provider: Provider, rows: number): number => {
  const { fixedUs, rowUs } = PROFILES.find((profile) => profile.provider === provider) ?? PROFILES[0]
  return (fixedUs + rowUs * rows) / 1_000
}

function ask({ version }: OpenedVersion, rows: number) {
  return version.batcher.submit({
    lane: `of ${rows}`,
    rows: rowsOf(new Array<number>(rows).fill(1)),
    arrivedAt: systemClock.monotonic(),
    deadline: Number.POSITIVE_INFINITY,
  })
}

/** Hosts of any provider, without a GPU; `tookMs` is what they say that a run took. */
function hosts(tookMs: (provider: Provider, rows: number) => number = () => 1) {
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
          return { outputs: new Float32Array(count).fill(ANSWERS[provider]), tookMs: tookMs(provider, count) }
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
    const opened = await serve(executors, mode, purpose)
    expect(prepared).toEqual([
      { kind, provider: 'cuda' },
      { kind, provider: 'cpu' },
    ])
    const [few, many] = [await ask(opened, 1), await ask(opened, 1_000)]
    await Promise.all([ask(opened, 1_000), ask(opened, 1_000), ask(opened, 1_000)])
    for (const [{ outputs, parts }, provider] of [
      [few, 'cpu'],
      [many, 'cuda'],
    ] as const) {
      expect(new Set(parts.map((part) => part.provider))).toEqual(new Set([provider]))
      expect(new Set(outputs)).toEqual(new Set([ANSWERS[provider]]))
    }
    expect(most()).toBe(slots)
    await opened.close()
  },
)

/** The provider that answers so many rows. */
async function providerOf(opened: OpenedVersion, rows: number): Promise<Provider | undefined> {
  return (await ask(opened, rows)).parts[0]?.provider
}

test('a GPU that turns out to be slower than its profile says is left to others', async () => {
  const clock = manualClock()
  const { executors } = hosts((provider, rows) => (provider === 'cuda' ? 40 : expectedMs(provider, rows)))
  const opened = await serve(executors, 'process', 'answers', { clock })
  expect(await providerOf(opened, 1_000)).toBe('cuda')
  for (let run = 0; run < 40; run++) await ask(opened, 1_000)
  clock.advance(1_000)
  expect(await providerOf(opened, 1_000)).toBe('cpu')
  await opened.close()
})

test('how large a batch may be follows where it runs, whatever ran elsewhere', async () => {
  const caps = new Map<number, number>()
  const { executors } = hosts(expectedMs)
  const opened = await serve(executors, 'process', 'answers', { released: (_, { rows, cap }) => caps.set(rows, cap) })
  for (let run = 0; run < 100; run++) for (const rows of [40, 1_000]) await ask(opened, rows)
  expect([await providerOf(opened, 40), await providerOf(opened, 1_000)]).toEqual(['cpu', 'cuda'])
  // eight times n90 = 9a/b rows; all that there may be
  expect(caps.get(40)).toBeGreaterThan(60)
  expect(caps.get(40)).toBeLessThan(80)
  expect(caps.get(1_000)).toBe(1_024)
  await opened.close()
})

test('what another version has under way on the GPU counts', async () => {
  const { executors } = hosts(expectedMs)
  const [one, other, third] = [
    await serve(executors, 'process'),
    await serve(executors, 'process'),
    await serve(executors, 'process'),
  ]
  expect(await providerOf(other, 50)).toBe('cuda')
  const busy = ask(one, 1_000)
  expect(await providerOf(third, 50)).toBe('cpu')
  await busy
  for (const { close } of [one, other, third]) await close()
})

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
