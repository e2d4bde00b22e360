import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createMicroBatcher } from '../../inference/batching/create-micro-batcher.ts'
import type { MicroBatch, MicroBatcher } from '../../inference/batching/micro-batcher.ts'
import type { RowFailure, RunRows } from '../../inference/execution/run-rows.ts'
import { systemClock } from '../../infra/runtime/clock.ts'
import { retryable } from '../../infra/runtime/errors.ts'
import { fixedCap } from '../support/batch-simulator.ts'

const WIDTH = 3
const OUTPUTS = 2

/** A row is [lane, its number in the lane, how bad it is]: 1 = it has no answer, 2 = the run is refused. */
const works = fc.array(
  fc.record({
    lane: fc.integer({ min: 0, max: 3 }),
    bad: fc.array(fc.constantFrom(...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), { maxLength: 12 }),
    turns: fc.integer({ min: 0, max: 3 }),
  }),
  { maxLength: 30 },
)

/** Row-wise, slow, and strict: its rows must be as they were when it is done. `tells`: what a run took, as a model does. */
function rowWise(turnsOf: () => number, seen: (lane: number, number: number) => void, tells = false): RunRows {
  return async (rows) => {
    const before = rows.slice()
    for (let at = 0; at < rows.length; at += WIDTH) seen(rows[at] as number, rows[at + 1] as number)
    for (let turn = turnsOf(); turn > 0; turn--) await new Promise(setImmediate)
    expect(rows).toEqual(before)
    const count = rows.length / WIDTH
    const failures = new Map<number, RowFailure>()
    const outputs = new Float32Array(count * OUTPUTS)
    for (let row = 0; row < count; row++) {
      const [lane = 0, number = 0, bad = 0] = rows.subarray(row * WIDTH, (row + 1) * WIDTH)
      if (bad === 1) failures.set(row, { reason: 'model_error', message: `${lane}/${number}` })
      outputs.set([lane * 1_000 + number, bad], row * OUTPUTS)
    }
    if (before.some((value, at) => at % WIDTH === 2 && value === 2)) throw retryable('model_unavailable', 'for now')
    const runMs = tells && failures.size === 0 ? 0.1 : undefined
    return { outputs, batchRows: new Int32Array(count).fill(count), failures, provider: 'cpu', runMs }
  }
}

function batcherOf(
  run: RunRows,
  options: {
    readonly cap: number
    readonly slots: number
    readonly alone: number
    readonly inline: boolean
    readonly seriesMs: number
    readonly late: readonly boolean[]
  },
): { readonly batcher: MicroBatcher; readonly batches: readonly MicroBatch[] } {
  const { cap, slots, alone, inline, seriesMs, late } = options
  const batches: MicroBatch[] = []
  let asked = 0
  const policy = {
    ...fixedCap(cap),
    aloneRows: alone,
    seriesMs: () => seriesMs,
    isLate: () => late[asked++ % late.length] as boolean,
  }
  const observer = { ran: (batch: MicroBatch) => batches.push(batch) }
  const shape = { width: WIDTH, outputWidth: OUTPUTS }
  return {
    batcher: createMicroBatcher({ ...shape, run, slots, inline, policy, clock: systemClock, observer }),
    batches,
  }
}

const settings = fc.record({
  cap: fc.integer({ min: 1, max: 20 }),
  slots: fc.integer({ min: 1, max: 3 }),
  alone: fc.constantFrom(1, 5, Number.POSITIVE_INFINITY),
  inline: fc.boolean(),
  seriesMs: fc.constantFrom(0, 1_000),
  /** By turns. */
  late: fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
})

test('every row is answered once with its own answer, whatever it was batched with', async () => {
  await fc.assert(
    fc.asyncProperty(works, settings, fc.array(fc.nat(4), { minLength: 1 }), async (plan, options, delays) => {
      const order = new Map<number, number[]>()
      let runs = 0
      const run = rowWise(
        () => delays[runs++ % delays.length] ?? 0,
        (lane, number) => order.set(lane, [...(order.get(lane) ?? []), number]),
        options.seriesMs > 0,
      )
      const { batcher, batches } = batcherOf(run, options)
      const counts = [0, 0, 0, 0]
      let submitted = 0
      const answers: Promise<void>[] = []
      for (const { lane, bad, turns } of plan) {
        const first = counts[lane] as number
        counts[lane] = first + bad.length
        submitted += bad.length
        const rows = Float32Array.from(bad.flatMap((one, at) => [lane, first + at, one]))
        const work = { lane: `${lane}`, rows, arrivedAt: systemClock.monotonic(), deadline: Number.POSITIVE_INFINITY }
        answers.push(
          batcher.submit(work).then(
            ({ outputs, failures, parts }) => {
              expect(outputs).toEqual(Float32Array.from(bad.flatMap((one, at) => [lane * 1_000 + first + at, one])))
              const expected = bad.flatMap((one, at) => (one === 1 ? [[at, `${lane}/${first + at}`]] : []))
              expect([...failures].map(([row, { message }]) => [row, message]).sort()).toEqual(expected.sort())
              expect(parts[0]?.from ?? 0).toBe(0)
              expect(parts.at(-1)?.to ?? 0).toBe(bad.length)
              for (const [at, part] of parts.entries()) {
                if (at > 0) expect(part.from).toBe(parts[at - 1]?.to)
                expect(part.batchRows).toHaveLength(part.to - part.from)
              }
              expect(bad).not.toContain(2)
            },
            (error: unknown) => expect(error).toMatchObject({ code: 'model_unavailable' }),
          ),
        )
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
      }
      await Promise.all(answers)
      expect(batcher.pending).toBe(0)
      for (const numbers of order.values()) expect(numbers).toEqual([...numbers].sort((one, other) => one - other))
      const refused = plan.some(({ bad }) => bad.includes(2))
      const ran = batches.reduce((sum, { rows }) => sum + rows, 0)
      if (!refused) expect(ran).toBe(submitted)
      for (const { rows, cap } of batches) expect(rows).toBeLessThanOrEqual(cap)
    }),
    { numRuns: 300 },
  )
})

test('where not all can be answered in time, a lane with one row waits for one turn of each other at most', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 6 }), settings, async (others, options) => {
      const runsOf: number[][] = []
      const run = rowWise(
        () => 1,
        () => undefined,
      )
      const { batcher } = batcherOf(
        (rows) => {
          runsOf.push(Array.from({ length: rows.length / WIDTH }, (_, row) => rows[row * WIDTH] as number))
          return run(rows)
        },
        { ...options, slots: 1, late: [true] },
      )
      const submit = (lane: number, count: number) => {
        const rows = Float32Array.from(Array.from({ length: count }, (_, at) => [lane, at, 0]).flat())
        return batcher.submit({ lane: `${lane}`, rows, arrivedAt: 0, deadline: Number.POSITIVE_INFINITY })
      }
      const backlogs = Array.from({ length: others }, (_, lane) => submit(lane + 1, 200))
      while (runsOf.length < 3) await new Promise(setImmediate)
      const begun = runsOf.length
      await submit(0, 1)
      const found = runsOf.findIndex((lanes) => lanes.includes(0))
      // those whose turns are as old may go first
      expect(found - begun).toBeLessThanOrEqual(others)
      await Promise.all(backlogs)
      // until the last rows, no lane is ahead of another by more than a batch or a turn
      const had = new Array<number>(others + 1).fill(0)
      for (const lanes of runsOf) {
        for (const lane of lanes) had[lane] = (had[lane] as number) + 1
        const waiting = had.slice(1).filter((rows) => rows < 200)
        if (waiting.length === others)
          expect(Math.max(...waiting) - Math.min(...waiting)).toBeLessThanOrEqual(options.cap)
      }
    }),
    { numRuns: 100 },
  )
})
