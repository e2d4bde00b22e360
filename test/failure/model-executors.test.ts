/** Models that hang, crash and eat memory, on ONNX Runtime as it is: what they end, and what goes on. */
import { expect, onTestFinished, test } from 'vitest'
import { createExecutors } from '../../inference/execution/executors.ts'
import { isolateRows } from '../../inference/execution/isolate-rows.ts'
import { processUsage } from '../../inference/execution/process-usage.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { childPid } from '../support/child-pid.ts'
import { eventually } from '../support/eventually.ts'
import { endsOf, isolatedModel, processExecutor, rowsOf } from '../support/executor-hosts.ts'
import { versionOf } from '../support/model-version.ts'
import { CRASHING, CRASHING_AT_LOAD, HANGING, HUNGRY, ORDINARY, POISON } from '../support/onnx/hostile-models.ts'
import { LABORIOUS } from '../support/onnx/slow-model.ts'
import { slowdown } from '../support/slowdown.ts'

const BATCH = 64
const RECOVERY_MS = 5_000
const firsts = Array.from({ length: BATCH }, (_, row) => 20 + row)
const poisoned = firsts.with(40, POISON)
const score = (first: number): number => Math.fround((first + 5) / 3)
const scores = firsts.map((first) => expect.closeTo(score(first), 4))

/** Resolves with what `work` does; fails when that takes longer than a lane may stand still. */
async function soon<T>(work: Promise<T>): Promise<T> {
  const since = performance.now()
  const result = await work
  const tookMs = performance.now() - since
  expect(tookMs).toBeLessThan(RECOVERY_MS * slowdown())
  return result
}

test('a row on which the model hangs is found, its neighbours are scored', async () => {
  const { executor, run } = await isolatedModel(HANGING)
  const result = await soon(run(rowsOf(poisoned)))
  expect(endsOf(result)).toEqual(scores.with(40, 'model_timeout'))
  expect(executor.stats().restarts).toEqual({ crash: 0, timeout: 1, memory: 0, killed: 0, recycled: 0 })
  expect(endsOf(await soon(run(rowsOf(firsts))))).toEqual(scores)
})

test('other batches go on while the rows of one are replayed', async () => {
  const { run } = await isolatedModel(HANGING)
  const order: string[] = []
  const hung = run(rowsOf(poisoned)).then((result) => {
    order.push('hung')
    return result
  })
  const behind = [1, 2, 3].map(async (n) => {
    const result = await run(rowsOf(firsts))
    order.push(`behind ${n}`)
    return result
  })
  for (const result of await soon(Promise.all(behind))) expect(endsOf(result)).toEqual(scores)
  expect(endsOf(await hung)).toEqual(scores.with(40, 'model_timeout'))
  expect(order).toEqual(['behind 1', 'behind 2', 'behind 3', 'hung'])
})

/** A model whose rows take what their first feature says, served as a stage serves it; and the first feature of a row by its ms. */
async function laborious() {
  const executors = createExecutors({ logger: silentLogger, memoryLimitBytes: 2 ** 32 })
  onTestFinished(() => executors.close())
  const model = await executors.child('answers', 'cpu', '1').prepare(versionOf(LABORIOUS))
  const TURNS = 100_000
  let shortest = Number.POSITIVE_INFINITY
  for (let run = 0; run < 3; run++) shortest = Math.min(shortest, (await model.run(rowsOf([TURNS]))).tookMs)
  const quarantine = executors.quarantine('answers', 'cpu')
  const run = isolateRows({ model, provider: 'cpu', quarantine, expectedMs: () => 0 })
  return { executors, run, rowOf: (ms: number) => Math.fround(Math.round((ms / shortest) * TURNS)) }
}

test('rows that are slow are scored alone, in one batch, and beside one that hangs', async () => {
  const { run, rowOf } = await laborious()
  // a row alone has 2 s: the machine may be five times as slow as when it was measured
  const [slow, slower, quick, hanging] = [rowOf(300), rowOf(400), rowOf(1), rowOf(1e6)]
  const end = (first: number) => (first === hanging ? 'model_timeout' : expect.closeTo(score(first), -1))
  // each row is in time, eight of them are not
  const together = Array.from({ length: 8 }, () => slower)
  const batches = [[slower], together, [quick, hanging, slow, quick, slow], [slower, hanging], [hanging]]
  for (const batch of batches) expect(endsOf(await run(rowsOf(batch)))).toEqual(batch.map(end))
})

test('a replay of a shadow that hangs keeps no replay of answers waiting', async () => {
  const { executors, rowOf } = await laborious()
  const manifest = versionOf(LABORIOUS)
  const order: string[] = []
  const replay = async (purpose: 'answers' | 'shadow', ...msOfRows: number[]): Promise<void> => {
    await executors.quarantine(purpose, 'cpu').replay(manifest, rowsOf(msOfRows.map(rowOf)))
    order.push(purpose)
  }
  const shadow = replay('shadow', 1e6, 1e6, 1e6)
  await Promise.all([shadow, replay('answers', 1, 1)])
  expect(order).toEqual(['answers', 'shadow'])
})

test('rows on which the model crashes are found, their neighbours are scored', async () => {
  const { executor, run } = await isolatedModel(CRASHING)
  const result = await soon(run(rowsOf(poisoned.with(3, POISON))))
  expect(endsOf(result)).toEqual(scores.with(40, 'model_crash').with(3, 'model_crash'))
  expect(result.failures.get(3)?.message).toBe('the child was ended by SIGFPE')
  expect(executor.stats().restarts.crash).toBe(1)
  expect(endsOf(await run(rowsOf(firsts)))).toEqual(scores)
})

test('a segmentation fault in the middle of a run blames no row', async () => {
  const { executor, model, run } = await isolatedModel(HANGING)
  const hanging = expect(model.run(rowsOf([POISON]))).rejects.toMatchObject({
    fault: 'crash',
    message: 'the child was ended by SIGSEGV',
  })
  process.kill(childPid(), 'SIGSEGV')
  await hanging
  expect(endsOf(await soon(run(rowsOf(firsts))))).toEqual(scores)
  expect(executor.stats().restarts.crash).toBe(1)
})

test('a child that someone else kills blames no row, and is asked again by the next one', async () => {
  const { executor, run } = await isolatedModel(ORDINARY)
  const rows = rowsOf(Array.from({ length: 2 ** 20 }, () => 1))
  const running = run(rows)
  process.kill(childPid(), 'SIGKILL')
  const { outputs, failures } = await soon(running)
  expect([failures.size, outputs.length, outputs.every((one) => one === 2)]).toEqual([0, 2 ** 20, true])
  expect(executor.stats().restarts).toEqual({ crash: 0, timeout: 0, memory: 0, killed: 1, recycled: 0 })
})

test('a run at which every child is killed is rejected after the third', async () => {
  const { executor, model } = await isolatedModel(HANGING, { minTimeoutMs: 120_000 })
  const refused = expect(model.run(rowsOf([POISON]))).rejects.toMatchObject({
    fault: 'memory',
    message: 'the child was ended by SIGKILL',
  })
  for (let kills = 1; kills <= 3; kills++) {
    process.kill(childPid(), 'SIGKILL')
    await eventually(() => expect(executor.stats().restarts.killed).toBe(kills), { deadlineMs: 30_000 })
    if (kills < 3) await atRun()
  }
  await refused
  expect([...(await soon(model.run(rowsOf(firsts)))).outputs]).toEqual(scores)
})

/** Settles when the child has run for longer than it takes to start and to load. */
async function atRun(): Promise<void> {
  await expect.poll(async () => (await processUsage(childPid()))?.cpuMs ?? 0).toBeGreaterThan(3_000)
}

test('a row for which the model takes more memory than it may is found, its neighbours are scored', async () => {
  const { executor, run } = await isolatedModel(HUNGRY, { memoryLimitBytes: 400 * 2 ** 20 })
  const tooMuch = 300e6
  const result = await soon(run(rowsOf(firsts.with(7, tooMuch))))
  expect(endsOf(result)).toEqual(scores.with(7, 'model_crash'))
  // the batch, its half and a quarter
  expect(executor.stats().restarts.memory).toBe(3)
  expect(endsOf(await run(rowsOf(firsts)))).toEqual(scores)
})

test('a row for which there is no memory fails alone, and no child ends', async () => {
  const { executor, run } = await isolatedModel(HUNGRY)
  const result = await soon(run(rowsOf(firsts.with(7, 4e13))))
  expect(endsOf(result)).toEqual(scores.with(7, 'model_error'))
  expect(executor.stats().restarts).toEqual({ crash: 0, timeout: 0, memory: 0, killed: 0, recycled: 0 })
})

test('a model that crashes when it is loaded is refused; those beside it serve on', async () => {
  const executor = processExecutor()
  const ordinary = await executor.prepare(versionOf(ORDINARY))
  const refused = expect(executor.prepare(versionOf(CRASHING_AT_LOAD))).rejects.toMatchObject({
    code: 'invalid_model',
    message: expect.stringContaining('the child was ended by SIGSEGV'),
  })
  const behind = ordinary.run(rowsOf(firsts))
  await refused
  expect([...(await behind).outputs]).toEqual(scores)
  expect(executor.stats()).toMatchObject({ models: 1, restarts: { crash: 1 } })
})
