import { expect, test } from 'vitest'
import type { BatchPolicy } from '../../inference/batching/batch-policy.ts'
import { createMicroBatcher } from '../../inference/batching/create-micro-batcher.ts'
import type { MicroBatch } from '../../inference/batching/micro-batcher.ts'
import type { RunResult } from '../../inference/execution/run-rows.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { fixedCap } from '../support/batch-simulator.ts'
import { manualClock } from '../support/manual-clock.ts'

/** Runs that end when they are told to. */
function held(options: { readonly slots?: number; readonly policy: BatchPolicy; readonly inline?: boolean }) {
  const { slots = 1, policy, inline = false } = options
  const runs: {
    readonly rows: Float32Array
    end(tooMany?: boolean, runMs?: number): RunResult
    refuse(error: unknown): void
  }[] = []
  const batches: MicroBatch[] = []
  const clock = manualClock()
  const batcher = createMicroBatcher({
    width: 1,
    outputWidth: 1,
    slots,
    inline,
    policy,
    clock,
    observer: { ran: (batch) => batches.push(batch) },
    run: (rows) =>
      new Promise((resolve, reject) => {
        const end = (tooMany = false, runMs?: number): RunResult => {
          const batchRows = new Int32Array(rows.length).fill(rows.length)
          const outputs = rows.slice()
          const result: RunResult = { outputs, batchRows, failures: new Map(), provider: 'cpu', tooMany, runMs }
          resolve(result)
          return result
        }
        runs.push({ rows, end, refuse: reject })
      }),
  })
  const submit = (lane: string, rows: Float32Array) =>
    batcher.submit({ lane, rows, arrivedAt: clock.monotonic(), deadline: Number.POSITIVE_INFINITY })
  return { runs, batches, clock, batcher, submit }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
const rowsOf = (...values: number[]): Float32Array => Float32Array.from(values)

test('a work that is alone in a batch is handed on as it is, and so are its outputs', async () => {
  const { runs, submit } = held({ policy: fixedCap(10) })
  const rows = rowsOf(1, 2, 3)
  const answer = submit('a', rows)
  await turn()
  expect(runs[0]?.rows).toBe(rows)
  const result = runs[0]?.end()
  const scored = await answer
  expect(scored.outputs).toBe(result?.outputs)
  expect(scored.parts).toHaveLength(1)
  expect(scored.parts[0]?.batchRows).toBe(result?.batchRows)
})

test('a work larger than the cap is cut into equal views, one run after the other', async () => {
  const { runs, batches, submit } = held({ policy: fixedCap(4) })
  const rows = rowsOf(0, 1, 2, 3, 4, 5, 6, 7, 8)
  const answer = submit('a', rows)
  for (let run = 0; run < 3; run++) {
    await turn()
    expect(runs[run]?.rows.buffer).toBe(rows.buffer)
    runs[run]?.end()
  }
  const scored = await answer
  expect(scored.outputs).toEqual(rows)
  expect(scored.parts.map(({ from, to }) => [from, to])).toEqual([
    [0, 3],
    [3, 6],
    [6, 9],
  ])
  expect(batches.map(({ reason }) => reason)).toEqual(['full', 'full', 'drained'])
})

test('works of several lanes are gathered, in a buffer that is used again once the run has settled', async () => {
  const { runs, batches, clock, submit } = held({ policy: fixedCap(4), slots: 2 })
  const first = [submit('a', rowsOf(1)), submit('b', rowsOf(2))]
  await turn()
  clock.advance(5)
  const second = [submit('a', rowsOf(3)), submit('b', rowsOf(4))]
  await turn()
  expect(runs).toHaveLength(2)
  expect(runs[0]?.rows.buffer).not.toBe(runs[1]?.rows.buffer)
  runs[0]?.end()
  await Promise.all(first)
  const third = [submit('a', rowsOf(5)), submit('b', rowsOf(6))]
  await turn()
  expect(runs[2]?.rows.buffer).toBe(runs[0]?.rows.buffer)
  expect(runs[1]?.rows).toEqual(rowsOf(3, 4))
  runs[1]?.end()
  runs[2]?.end()
  const answers = await Promise.all([...second, ...third])
  expect(answers.map(({ outputs }) => outputs[0])).toEqual([3, 4, 5, 6])
  expect(batches[0]).toEqual({ reason: 'drained', rows: 2, cap: 4, waitedMs: 0, runMs: 5 })
})

test.each([
  ['the oldest is next while all can be answered in time', false, ['b', 'a', 'a', 'c']],
  ['that of the lane that has had least is next where some will be late', true, ['b', 'c', 'a', 'a']],
])('of works that are batches by themselves, %s', async (_, late, order) => {
  const policy = { ...fixedCap(2), aloneRows: 2, isLate: () => late }
  const { runs, clock, submit } = held({ policy })
  const lanes = ['a', 'b', 'a', 'a', 'c']
  const answers: Promise<unknown>[] = []
  for (const [at, lane] of lanes.entries()) {
    answers.push(submit(lane, rowsOf(at, at)))
    await turn()
    clock.advance(1)
  }
  for (let run = 0; run < lanes.length; run++) {
    runs[run]?.end()
    await turn()
  }
  await Promise.all(answers)
  expect(runs.slice(1).map(({ rows }) => lanes[rows[0] as number])).toEqual(order)
})

test('what comes while a run is under way is one batch, with even shares', async () => {
  const { runs, batcher, submit } = held({ policy: fixedCap(6) })
  const answers = [submit('a', rowsOf(0))]
  await turn()
  answers.push(
    submit('a', rowsOf(10, 11, 12, 13, 14, 15)),
    submit('b', rowsOf(20)),
    submit('c', rowsOf(30, 31, 32, 33)),
  )
  expect(batcher.pending).toBe(12)
  runs[0]?.end()
  await turn()
  // b's single row leaves five for the two others
  const lanes = [...(runs[1]?.rows ?? [])].map((value) => Math.floor(value / 10)).sort()
  expect(lanes.filter((lane) => lane === 2)).toHaveLength(1)
  expect(lanes.filter((lane) => lane === 3).length).toBeGreaterThanOrEqual(2)
  expect(lanes.filter((lane) => lane === 1).length).toBeGreaterThanOrEqual(2)
  runs[1]?.end()
  await turn()
  expect(batcher.pending).toBe(5)
  runs[2]?.end()
  await Promise.all(answers)
  expect(batcher.pending).toBe(0)
})

test('a batch that was too large for the memory there is is told to the policy, as no run', async () => {
  const told: unknown[] = []
  const policy = {
    ...fixedCap(8),
    ran: (rows: number) => void told.push({ ran: rows }),
    tooMany: (rows: number) => void told.push({ tooMany: rows }),
  }
  const { runs, submit } = held({ policy })
  for (const [work, tooMany] of [true, false].entries()) {
    const answer = submit('a', rowsOf(1, 2, 3))
    await turn()
    runs[work]?.end(tooMany)
    await answer
  }
  expect(told).toEqual([{ tooMany: 3 }, { ran: 3 }])
})

test('a refused run refuses its works alone, and only once no other run reads their rows', async () => {
  const { runs, batcher, submit } = held({ policy: fixedCap(2), slots: 2 })
  const settled: string[] = []
  const refused = submit('a', rowsOf(1, 2, 3, 4, 5, 6)).catch((error: unknown) => {
    settled.push('refused')
    return error
  })
  const other = expect(submit('b', rowsOf(7, 8))).rejects.toMatchObject({ code: 'model_unavailable' })
  await turn()
  expect(runs.map(({ rows }) => [...rows])).toEqual([
    [1, 7],
    [2, 8],
  ])
  runs[1]?.end()
  await turn()
  runs[0]?.refuse(retryable('model_unavailable', 'for now'))
  await turn()
  expect(settled).toEqual([])
  expect(runs.map(({ rows }) => [...rows]).slice(2)).toEqual([[3, 4]])
  expect(batcher.pending).toBe(2)
  runs[2]?.end()
  expect(await refused).toMatchObject({ code: 'model_unavailable' })
  await other
  const next = submit('a', rowsOf(9))
  await turn()
  runs[3]?.end()
  expect((await next).outputs).toEqual(rowsOf(9))
})

test('an answer of another size, and rows of another width, are refused', async () => {
  const clock = manualClock()
  const result: RunResult = { outputs: rowsOf(1), batchRows: new Int32Array(1), failures: new Map(), provider: 'cpu' }
  const deps = { slots: 1, inline: true, policy: fixedCap(8), clock, observer: { ran() {} }, run: async () => result }
  const batcher = createMicroBatcher({ width: 2, outputWidth: 1, ...deps })
  const submit = (rows: Float32Array) => batcher.submit({ lane: 'a', rows, arrivedAt: 0, deadline: 0 })
  await expect(submit(rowsOf(1, 2, 3, 4))).rejects.toThrow(RangeError)
  await expect(submit(rowsOf(1, 2, 3))).rejects.toThrow(RangeError)
  expect(await submit(rowsOf())).toMatchObject({ parts: [] })
})

test('between two runs of this thread, others have their turn', async () => {
  const { runs, submit } = held({ policy: fixedCap(1), inline: true })
  const answers = [submit('a', rowsOf(1, 2))]
  await turn()
  runs[0]?.end()
  const order: string[] = []
  setImmediate(() => order.push(`turn, ${runs.length} run`))
  await turn()
  expect(order).toEqual(['turn, 1 run'])
  await turn()
  runs[1]?.end()
  await Promise.all(answers)
})

test('a full batch follows at once on a run of the model, which had a turn of its own', async () => {
  const { runs, submit } = held({ policy: fixedCap(1), inline: true })
  const answer = submit('a', rowsOf(1, 2))
  await turn()
  const order: string[] = []
  setImmediate(() => order.push(`turn, ${runs.length} run`))
  runs[0]?.end(false, 1)
  await turn()
  expect(order).toEqual(['turn, 2 run'])
  runs[1]?.end(false, 1)
  await answer
})

test('full batches that are run in a series are answered when the last has been run, each with its own', async () => {
  // four at most; of these the third ends at 7 ms, and another like it would end at 12
  const policy = { ...fixedCap(2), aloneRows: 2, seriesMs: () => 10 }
  const { runs, batches, clock, submit } = held({ policy, inline: true })
  const settled: string[] = []
  const answers = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(async (lane, at) => {
    const rows = rowsOf(2 * at, 2 * at + 1)
    const { outputs, parts } = await submit(lane, rows)
    expect(outputs).toEqual(rows)
    settled.push(`${lane} ${parts[0]?.scoredAt}`)
  })
  const begun = clock.now()
  for (const [run, ms] of [1, 1, 5].entries()) {
    await turn()
    expect([runs.length, settled]).toEqual([run + 1, []])
    clock.advance(ms)
    runs[run]?.end(false, ms)
  }
  await turn()
  expect(settled).toEqual([`a ${begun + 1}`, `b ${begun + 2}`, `c ${begun + 7}`])
  expect(batches.map(({ reason, rows, runMs }) => [reason, rows, runMs])).toEqual([
    ['full', 2, 1],
    ['full', 2, 1],
    ['full', 2, 5],
  ])
  for (let run = 3; run < 7; run++) {
    expect(settled).toHaveLength(3)
    runs[run]?.end(false, 1)
    await turn()
  }
  expect(settled).toHaveLength(7)
  runs[7]?.end(false, 1)
  await Promise.all(answers)
})

test('a series of batches ends with one that is refused or not full', async () => {
  const { runs, submit } = held({ policy: { ...fixedCap(2), aloneRows: 2, seriesMs: () => 3 }, inline: true })
  const first = submit('a', rowsOf(1, 2))
  const refused = submit('b', rowsOf(3, 4))
  const others = [submit('c', rowsOf(5, 6)), submit('d', rowsOf(7))]
  await turn()
  runs[0]?.end(false, 1)
  await turn()
  runs[1]?.refuse(retryable('model_unavailable', 'for now'))
  await expect(refused).rejects.toMatchObject({ code: 'model_unavailable' })
  await first
  await turn()
  runs[2]?.end(false, 1)
  await others[0]
  await turn()
  runs[3]?.end(false, 1)
  await others[1]
})

test('a batch that waits leaves when its time has come, or as soon as it is full', async () => {
  const wake: (() => void)[] = []
  const clock = { ...manualClock(), sleep: () => new Promise<void>((resolve) => wake.push(resolve)) }
  let due = false
  const policy: BatchPolicy = {
    ...fixedCap(3),
    decide: ({ rows, now }) => (rows >= 3 ? 'full' : due ? 'linger' : now + 2),
  }
  const batches: MicroBatch[] = []
  const run = async (rows: Float32Array): Promise<RunResult> => {
    const batchRows = new Int32Array(rows.length)
    return { outputs: rows, batchRows, failures: new Map(), provider: 'cpu' }
  }
  const observer = { ran: (batch: MicroBatch) => batches.push(batch) }
  const batcher = createMicroBatcher({
    width: 1,
    outputWidth: 1,
    run,
    slots: 1,
    inline: false,
    policy,
    clock,
    observer,
  })
  const submit = (...values: number[]) =>
    batcher.submit({ lane: 'a', rows: rowsOf(...values), arrivedAt: clock.monotonic(), deadline: 0 })
  const answers = [submit(1)]
  await turn()
  expect(wake).toHaveLength(1)
  expect(batches).toHaveLength(0)
  answers.push(submit(2, 3))
  await Promise.all(answers)
  const later = submit(4)
  await turn()
  due = true
  for (const fire of wake) fire()
  await later
  expect(batches.map(({ reason, rows }) => [reason, rows])).toEqual([
    ['full', 3],
    ['linger', 1],
  ])
})
