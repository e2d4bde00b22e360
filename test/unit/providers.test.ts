import { expect, test } from 'vitest'
import { ModelRunError, type PreparedModel } from '../../inference/execution/executor.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { isProviderThere } from '../../inference/execution/providers/is-provider-there.ts'
import { ownGpu } from '../../inference/execution/providers/own-gpu.ts'
import { bucketsBelow, inParts, paddedModel } from '../../inference/execution/providers/padded.ts'
import { createProviderLoad } from '../../inference/execution/providers/provider-load.ts'
import { type ProviderCost, routeByProvider } from '../../inference/execution/providers/route-by-provider.ts'
import { type ProviderDeps, takeProviders } from '../../inference/execution/providers/take-providers.ts'
import type { Provider, RowFailure, RunResult, RunRows } from '../../inference/execution/run-rows.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { endsOf, rowsOf } from '../support/executor-hosts.ts'
import { manualClock } from '../support/manual-clock.ts'
import { versionOf } from '../support/model-version.ts'
import { FEATURES, ORDINARY } from '../support/onnx/hostile-models.ts'

/** A GPU that is worth its start from 47 rows on. */
const COSTS: Record<Provider, ProviderCost> = {
  cpu: { fixedMs: 0.01, rowMs: 0.01 },
  cuda: { fixedMs: 0.4, rowMs: 0.0018 },
}

/** Providers that answer at once; `busy` is what they have to do for others, ms. */
function providers(costs: Record<Provider, ProviderCost> = { ...COSTS }) {
  const clock = manualClock()
  const busy = { cpu: 0, cuda: 0 }
  const broken = new Set<Provider>()
  const asked: Provider[] = []
  const warnings: string[] = []
  const runOn =
    (provider: Provider): RunRows =>
    async (rows) => {
      asked.push(provider)
      if (broken.has(provider)) throw new Error(`${provider} is broken`)
      return { outputs: rows, batchRows: new Int32Array(rows.length).fill(rows.length), failures: new Map(), provider }
    }
  const loadOf = (provider: Provider) => {
    const { counted, busyMs } = createProviderLoad(clock)
    return { counted, busyMs: () => Math.max(busyMs(), busy[provider]) }
  }
  const { run, expects } = routeByProvider({
    width: 1,
    cpu: runOn('cpu'),
    cuda: runOn('cuda'),
    costs: (provider) => costs[provider],
    loads: { cpu: loadOf('cpu'), cuda: loadOf('cuda') },
    clock,
    logger: { ...silentLogger, warn: (_fields, message) => void warnings.push(message) },
  })
  const ask = async (rows: number): Promise<Provider> => (await run(new Float32Array(rows))).provider
  return { ask, asked, expects, broken, busy, clock, costs, run, warnings }
}

test('long batches go to the GPU, short ones to the CPU', async () => {
  const { ask } = providers()
  for (let round = 0; round < 3; round++) {
    expect(await ask(8)).toBe('cpu')
    expect(await ask(2_000)).toBe('cuda')
  }
})

test('a batch goes where less is queued, once that is better by 20 % and the last change is a second ago', async () => {
  const { ask, busy, clock } = providers()
  expect(await ask(1_000)).toBe('cuda')
  busy.cuda = 6.5
  clock.advance(1_000)
  // 8.7 ms against 10.01 ms: the GPU is still first; then 10.2 ms, which is not worth a change
  expect(await ask(1_000)).toBe('cuda')
  busy.cuda = 8
  expect(await ask(1_000)).toBe('cuda')
  busy.cuda = 20
  expect(await ask(1_000)).toBe('cpu')
  busy.cuda = 0
  clock.advance(999)
  expect(await ask(1_000)).toBe('cpu')
  clock.advance(1)
  expect(await ask(1_000)).toBe('cuda')
})

test('two providers that are alike do not take turns', async () => {
  const alike = { fixedMs: 1, rowMs: 0.01 }
  const { ask, asked, busy, clock } = providers({ cpu: alike, cuda: alike })
  for (let round = 0; round < 100; round++) {
    busy.cpu = round % 2 === 0 ? 0.2 : 0
    busy.cuda = round % 2 === 0 ? 0 : 0.2
    clock.advance(1_000)
    await ask(100)
  }
  // the other one is tried now and then
  expect(asked.filter((provider) => provider !== asked[0])).toHaveLength(3)
})

test('a provider that has run nothing for half a minute is tried with one batch, unless it is much slower', async () => {
  const { ask, clock, costs } = providers()
  expect(await ask(1_000)).toBe('cuda')
  costs.cuda = { fixedMs: 15, rowMs: 0 }
  clock.advance(1_000)
  expect(await ask(1_000)).toBe('cpu')
  clock.advance(29_000)
  expect([await ask(1_000), await ask(1_000)]).toEqual(['cuda', 'cpu'])
  costs.cuda = { fixedMs: 45, rowMs: 0 }
  clock.advance(30_000)
  expect(await ask(1_000)).toBe('cpu')
  costs.cuda = COSTS.cuda
  expect([await ask(1_000), await ask(1_000)]).toEqual(['cuda', 'cuda'])
})

test('what is under way counts as queued', async () => {
  const { clock, run } = providers({ cpu: { fixedMs: 2, rowMs: 0 }, cuda: { fixedMs: 1, rowMs: 0 } })
  const rows = new Float32Array(100)
  await run(rows)
  clock.advance(1_000)
  const together = await Promise.all(Array.from({ length: 3 }, () => run(rows)))
  expect(together.map(({ provider }) => provider)).toEqual(['cuda', 'cuda', 'cpu'])
})

test('what fails on one provider is run on the other, which then has it for a while', async () => {
  const { ask, asked, broken, clock, warnings } = providers()
  broken.add('cuda')
  expect(await ask(2_000)).toBe('cpu')
  expect(await ask(2_000)).toBe('cpu')
  expect(asked).toEqual(['cuda', 'cpu', 'cpu'])
  expect(warnings).toHaveLength(1)
  broken.clear()
  clock.advance(10_000)
  expect(await ask(2_000)).toBe('cuda')
  broken.add('cuda').add('cpu')
  await expect(ask(2_000)).rejects.toThrow('cpu is broken')
})

test('where a batch would go can be asked without sending it there', async () => {
  const { ask, asked, busy, clock, expects } = providers()
  expect([expects(8), expects(2_000)]).toEqual(['cpu', 'cuda'])
  expect(asked).toEqual([])
  expect(await ask(1_000)).toBe('cuda')
  busy.cuda = 20
  expect(expects(1_000)).toBe('cuda')
  clock.advance(1_000)
  expect(expects(1_000)).toBe('cpu')
  busy.cuda = 0
  expect(await ask(1_000)).toBe('cuda')
})

test('runs of all versions on a GPU count as queued there until they are over', async () => {
  const clock = manualClock()
  const gpu = createProviderLoad(clock)
  const ends: (() => void)[] = []
  const result: RunResult = {
    outputs: new Float32Array(0),
    batchRows: new Int32Array(0),
    failures: new Map(),
    provider: 'cuda',
  }
  const run = (): Promise<RunResult> => new Promise((resolve) => ends.push(() => resolve(result)))
  const [one, other] = [gpu.counted(run, () => 5), gpu.counted(run, (rows) => rows.length)]
  const runs = [one(new Float32Array(1)), other(new Float32Array(3))]
  expect(gpu.busyMs()).toBe(8)
  clock.advance(6)
  expect(gpu.busyMs()).toBe(2)
  for (const end of ends) end()
  await Promise.all(runs)
  expect(gpu.busyMs()).toBe(0)
  const failing = gpu.counted(
    () => Promise.reject(new Error('broken')),
    () => 5,
  )
  await expect(failing(new Float32Array(1))).rejects.toThrow('broken')
  expect(gpu.busyMs()).toBe(0)
})

test.each([
  [1, 2_048, [32]],
  [32, 2_048, [32]],
  [33, 2_048, [128]],
  [600, 2_048, [2_048]],
  [2_049, 2_048, [2_048, 32]],
  [2_049, 4_096, [4_096]],
  [1_100, 1_024, [512, 512, 128]],
  [20, 16, [16, 4]],
])('%i rows of at most %i run as %j', async (count, maxRows, expected) => {
  const runs: number[] = []
  const buckets = bucketsBelow(maxRows)
  const manifest = versionOf(ORDINARY)
  const model = paddedModel(
    {
      manifest,
      async run(rows) {
        const firsts = rows.filter((_, at) => at % FEATURES === 0)
        runs.push(firsts.length)
        expect(Math.max(...firsts)).toBeLessThan(count)
        if (firsts.includes(count - 1)) throw new ModelRunError('rows', 'the last')
        return { outputs: firsts, tookMs: 1 }
      },
      retire: () => Promise.resolve(),
    },
    buckets,
  )
  const run: RunRows = async (rows) => {
    const size = rows.length / FEATURES
    const failures = new Map<number, RowFailure>()
    const { outputs } = await model.run(rows).catch((error: ModelRunError) => {
      failures.set(size - 1, { reason: 'model_error', message: error.message })
      return { outputs: rows.filter((_, at) => at % FEATURES === 0), tookMs: 1 }
    })
    return { outputs, batchRows: new Int32Array(size).fill(size), failures, provider: 'cuda' }
  }
  const firsts = Array.from({ length: count }, (_, row) => row)
  const result = await inParts(run, FEATURES, buckets.at(-1) ?? maxRows)(rowsOf(firsts))
  expect(runs).toEqual(expected)
  expect(result.provider).toBe('cuda')
  expect([...result.outputs]).toEqual(firsts)
  expect([...result.failures.keys()]).toEqual([count - 1])
  expect(result.batchRows).toHaveLength(count)
  expect(result.batchRows[0]).toBe(Math.min(count, buckets.at(-1) ?? maxRows))
})

test('the copies of a row that hangs are replayed once', async () => {
  const replayed: number[] = []
  const hanging: PreparedModel = {
    manifest: versionOf(ORDINARY),
    run: () => Promise.reject(new ModelRunError('timeout', 'late')),
    retire: () => Promise.resolve(),
  }
  const run = isolateRows({
    model: paddedModel(hanging, [16]),
    provider: 'cuda',
    quarantine: {
      warm: () => {},
      async replay(_manifest, rows) {
        replayed.push(rows.length / FEATURES)
        return {
          outputs: Float32Array.of(1, 0),
          failures: new Map([[1, { reason: 'model_timeout', message: 'late' }]]),
          tookMs: 1,
        }
      },
      forget: () => {},
      close: () => Promise.resolve(),
    },
    expectedMs: () => 0,
  })
  expect(endsOf(await run(rowsOf([1, 2])))).toEqual([1, 'model_timeout'])
  expect(replayed).toEqual([2])
})

const choice = (demand: 'require' | 'prefer', name: Provider = 'cuda') => ({
  name: 'delay',
  provider: { name, demand },
})

/** A provider as it is; what it is warned of, and how often it is asked for and given back. */
function machine(probe: () => Promise<boolean>, own: () => Promise<void> = async () => {}) {
  const seen = { warnings: [] as object[], probes: 0, owned: 0 }
  const deps: ProviderDeps = {
    isThere() {
      seen.probes++
      return probe()
    },
    async own() {
      await own()
      seen.owned++
      return async () => void seen.owned--
    },
    clock: manualClock(),
    logger: { ...silentLogger, warn: (fields: object) => void seen.warnings.push(fields) },
  }
  return { deps, seen }
}

const dies = (): Promise<never> => Promise.reject(retryable('provider_probe_failed', 'it ended with SIGSEGV'))
const isTaken = (): Promise<never> => Promise.reject(retryable('gpu_taken', 'it belongs to another process'))
const warning = (code: string) => ({ code, model: 'delay', provider: 'cuda', instead: 'cpu' })

test('a provider that is required and missing refuses the start', async () => {
  const refused = takeProviders(choice('require'), machine(async () => false).deps)
  await expect(refused).rejects.toMatchObject({ code: 'provider_missing', fate: 'crash' })
  await expect(refused).rejects.toThrow(/model delay.*CUDA 12.*cuDNN 9.*--onnxruntime-node-install=cuda12/)
})

test('a provider that is required and cannot be tried, or is taken, is asked for again by the start', async () => {
  const broken = takeProviders(choice('require'), machine(dies).deps)
  await expect(broken).rejects.toMatchObject({ code: 'provider_probe_failed', fate: 'retry' })
  const taken = takeProviders(choice('require'), machine(async () => true, isTaken).deps)
  await expect(taken).rejects.toMatchObject({ code: 'gpu_taken', fate: 'retry' })
})

test.each([
  ['missing', async () => false, async () => {}, 'provider_missing', 1],
  ['broken: its probe dies', dies, async () => {}, 'provider_probe_failed', 3],
  ["another process's", async () => true, isTaken, 'gpu_taken', 3],
])('a provider that is preferred and %s leaves the CPU, and one warning', async (_, probe, own, code, probes) => {
  const { deps, seen } = machine(probe, own)
  expect((await takeProviders(choice('prefer'), deps)).value).toEqual(['cpu'])
  expect(seen).toEqual({ warnings: [warning(code)], probes, owned: 0 })
})

test('a preferred provider whose probe fails for once is used', async () => {
  let isBusy = true
  const { deps, seen } = machine(async () => {
    if (!isBusy) return true
    isBusy = false
    return await dies()
  })
  expect((await takeProviders(choice('prefer'), deps)).value).toEqual(['cuda', 'cpu'])
  expect(seen).toEqual({ warnings: [], probes: 2, owned: 1 })
})

test('what nobody understands ends the process, also where the provider is only preferred', async () => {
  const { deps } = machine(() => Promise.reject(new TypeError('broken')))
  await expect(takeProviders(choice('prefer'), deps)).rejects.toThrow(TypeError)
})

test('a provider that is there is first, and alone when it is required; it is given back at the end', async () => {
  const { deps, seen } = machine(async () => true)
  const preferred = await takeProviders(choice('prefer'), deps)
  expect(preferred.value).toEqual(['cuda', 'cpu'])
  expect((await takeProviders(choice('require'), deps)).value).toEqual(['cuda'])
  expect((await takeProviders(choice('require', 'cpu'), deps)).value).toEqual(['cpu'])
  expect(seen).toMatchObject({ probes: 2, owned: 2 })
  await preferred.stop()
  expect(seen.owned).toBe(1)
})

test('ONNX Runtime is asked in a process of its own', async () => {
  expect(await isProviderThere('cpu')).toBe(true)
  // as it is installed, its CUDA libraries are not
  expect(await isProviderThere('cuda')).toBe(false)
})

test('a GPU has one owner', async () => {
  const device = `test-${process.pid}`
  const giveBack = await ownGpu(device)
  await expect(ownGpu(device)).rejects.toMatchObject({ code: 'gpu_taken', fate: 'retry' })
  await giveBack()
  await (await ownGpu(device))()
})
