/** Executors on real models: what they answer, what they refuse, how they end. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { childEnvironment } from '../../inference/execution/child-environment.ts'
import { chooseExecutor } from '../../inference/execution/choose-executor.ts'
import { ModelRunError } from '../../inference/execution/executor.ts'
import { HEADER_BYTES, readHeader, writeHeader } from '../../inference/execution/frames.ts'
import { createInlineExecutor } from '../../inference/execution/inline-executor.ts'
import { type Logger, silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { childPid } from '../support/child-pid.ts'
import { eventually } from '../support/eventually.ts'
import { processExecutor, rowsOf } from '../support/executor-hosts.ts'
import { versionOf, writeVersion } from '../support/model-version.ts'
import { HANGING, HUNGRY, ORDINARY, POISON, REFUSING } from '../support/onnx/hostile-models.ts'
import { linear, linearBatch } from '../support/shaped-models.ts'

const PARENT = join(import.meta.dirname, '../support/hanging-executor.ts')

const executors = {
  inline: () => createInlineExecutor({ provider: 'cpu' }),
  process: () => processExecutor(),
}

test.each(['inline', 'process'] as const)('an executor (%s) answers for several models', async (kind) => {
  const executor = executors[kind]()
  onTestFinished(() => executor.close())
  expect(executor).toMatchObject({ kind, provider: 'cpu', depth: kind === 'inline' ? 1 : 2 })
  const ordinary = await executor.prepare(versionOf(ORDINARY))
  const fixed = await executor.prepare(versionOf(linearBatch(4)))
  const answers = await Promise.all([
    ordinary.run(rowsOf([1, 4])),
    fixed.run(Float32Array.of(1, 2, 3, 4, 5, 6)),
    ordinary.run(rowsOf([])),
    ordinary.run(rowsOf([7])),
  ])
  expect(answers.map(({ outputs }) => [...outputs])).toEqual([
    [2, 3],
    [linear(1, 2), linear(3, 4), linear(5, 6)],
    [],
    [4],
  ])
  expect(executor.stats()).toMatchObject({ models: 2, runs: 4 })
  await fixed.retire()
  expect(executor.stats().models).toBe(1)
  expect([...(await ordinary.run(rowsOf([1]))).outputs]).toEqual([2])
})

test.each(['inline', 'process'] as const)(
  'what the model refuses is told from what there is no memory for (%s)',
  async (kind) => {
    const executor = executors[kind]()
    onTestFinished(() => executor.close())
    const refusing = await executor.prepare(versionOf(REFUSING))
    await expect(refusing.run(rowsOf([1, 100]))).rejects.toMatchObject({ fault: 'rows' })
    const hungry = await executor.prepare(versionOf(HUNGRY))
    const failure = hungry.run(rowsOf([4e13]))
    await expect(failure).rejects.toBeInstanceOf(ModelRunError)
    await expect(failure).rejects.toMatchObject({ fault: 'allocation' })
    expect([...(await refusing.run(rowsOf([1]))).outputs]).toEqual([2])
  },
)

test.each(['inline', 'process'] as const)(
  'a model that is not what its manifest says is refused (%s)',
  async (kind) => {
    const executor = executors[kind]()
    onTestFinished(() => executor.close())
    const manifest = { ...versionOf(ORDINARY), sha256: '0'.repeat(64) }
    await expect(executor.prepare(manifest)).rejects.toMatchObject({ code: 'invalid_model', fate: 'crash' })
    expect(executor.stats().models).toBe(0)
  },
)

test('what is under way when an executor is closed is answered', async () => {
  const executor = processExecutor()
  const model = await executor.prepare(versionOf(ORDINARY))
  const running = [1, 4, 7, 10].map((first) => model.run(rowsOf([first])))
  await executor.close()
  expect((await Promise.all(running)).map(({ outputs }) => outputs[0])).toEqual([2, 3, 4, 5])
  expect(childPid).toThrow('there are 0 children')
  await expect(model.run(rowsOf([1]))).rejects.toMatchObject({ code: 'model_unavailable', fate: 'retry' })
})

test('a child that is killed while nothing runs is started anew, with its models', async () => {
  const executor = processExecutor()
  const model = await executor.prepare(versionOf(ORDINARY))
  process.kill(childPid(), 'SIGKILL')
  await eventually(() => expect(executor.stats().restarts.killed).toBe(1), { deadlineMs: 30_000 })
  expect([...(await model.run(rowsOf([1]))).outputs]).toEqual([2])
})

test('a child that grows is started anew when it has nothing to do, more than once, and says so', async () => {
  const causes: string[] = []
  const executor = processExecutor({ recycleGrowthBytes: 1, restarted: (cause) => void causes.push(cause) })
  const model = await executor.prepare(versionOf(ORDINARY))
  let rows = 0
  await eventually(
    async () => {
      // what a child has read it keeps room for
      rows += 2 ** 16
      await model.run(rowsOf(Array.from({ length: rows }, () => 1)))
      expect(causes.length).toBeGreaterThanOrEqual(3)
    },
    { deadlineMs: 30_000 },
  )
  expect(new Set(causes)).toEqual(new Set(['recycled']))
  expect([...(await model.run(rowsOf([1]))).outputs]).toEqual([2])
})

test('where no child can be started, whoever waits is told to come again', async () => {
  const { execPath } = process
  onTestFinished(() => {
    process.execPath = execPath
  })
  process.execPath = '/nowhere/node'
  const executor = processExecutor()
  const refused = executor.prepare(versionOf(ORDINARY))
  await expect(refused).rejects.toMatchObject({ code: 'model_unavailable', fate: 'retry' })
  process.execPath = execPath
  const model = await executor.prepare(versionOf(ORDINARY))
  expect([...(await model.run(rowsOf([1]))).outputs]).toEqual([2])
})

test('a model that a new child cannot load fails, and those beside it serve on', async () => {
  const executor = processExecutor()
  const ordinary = await executor.prepare(versionOf(ORDINARY))
  const folder = writeVersion(REFUSING)
  const gone = await executor.prepare(readModelManifest(folder))
  rmSync(join(folder, 'model.onnx'))
  process.kill(childPid(), 'SIGKILL')
  await eventually(() => expect(executor.stats().restarts.killed).toBe(1), { deadlineMs: 30_000 })
  await expect(gone.run(rowsOf([1]))).rejects.toMatchObject({ code: 'model_failed', fate: 'crash' })
  expect([...(await ordinary.run(rowsOf([1]))).outputs]).toEqual([2])
  cpSync(join(writeVersion(REFUSING), 'model.onnx'), join(folder, 'model.onnx'))
  expect([...(await gone.run(rowsOf([1]))).outputs]).toEqual([2])
})

test('what a child says on standard error is in the log', async () => {
  vi.stubEnv('LD_PRELOAD', '/nowhere/library.so')
  onTestFinished(() => void vi.unstubAllEnvs())
  const lines: unknown[] = []
  const logger: Logger = { ...silentLogger, warn: (fields) => lines.push(fields), child: () => logger }
  await processExecutor({ logger }).prepare(versionOf(ORDINARY))
  await eventually(() => expect(lines).toEqual([{ line: expect.stringContaining('/nowhere/library.so') }]), {
    deadlineMs: 30_000,
  })
})

test('a child ends by itself when its parent dies, also in the middle of a run', async () => {
  const parent = spawn(process.execPath, [...process.execArgv, PARENT, writeVersion(HANGING), String(POISON)], {
    stdio: 'pipe',
  })
  onTestFinished(() => void parent.kill('SIGKILL'))
  const [line] = (await once(parent.stdout, 'data')) as [Buffer]
  const child = Number(line)
  expect(isAlive(child)).toBe(true)
  parent.kill('SIGKILL')
  await eventually(() => expect(isAlive(child)).toBe(false), { deadlineMs: 30_000 })
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    // there is none
    return false
  }
}

test('a frame is read as it was written, and nothing else is one', () => {
  const header = {
    kind: 'failed',
    fault: 'allocation',
    request: 2 ** 32 - 1,
    model: 7,
    bytes: 4_096,
    took: 1_234_567,
  } as const
  expect(readHeader(writeHeader(header))).toEqual(header)
  expect(readHeader(Buffer.alloc(HEADER_BYTES))).toBeNull()
  expect(readHeader(Buffer.alloc(HEADER_BYTES, 0xff))).toBeNull()
})

test('a child inherits no credentials', () => {
  const env = {
    PATH: '/bin',
    CUDA_VISIBLE_DEVICES: '0',
    KAFKA_PASSWORD: 'x',
    AWS_SECRET_ACCESS_KEY: 'y',
    NODE_OPTIONS: '',
  }
  expect(childEnvironment(env)).toEqual({ PATH: '/bin', CUDA_VISIBLE_DEVICES: '0' })
})

test.each([
  ['quick and proven', {}, 'inline'],
  ['slow', { longestRunMs: 7.1 }, 'process'],
  ['not measured', { longestRunMs: null }, 'process'],
  ['not proven', { isProven: false }, 'process'],
  ['on a GPU', { provider: 'cuda' }, 'process'],
  ['told so', { mode: 'process' }, 'process'],
  ['told so, though slow', { mode: 'inline', longestRunMs: 100 }, 'inline'],
] as const)('a model that is %s runs where it may', (_name, but, kind) => {
  const question = { mode: 'auto', provider: 'cpu', isProven: true, longestRunMs: 7 } as const
  expect(chooseExecutor({ ...question, ...but })).toBe(kind)
})
