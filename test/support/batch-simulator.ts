import { setImmediate as settled } from 'node:timers/promises'
import type { BatchPolicy } from '../../inference/batching/batch-policy.ts'
import { createMicroBatcher } from '../../inference/batching/create-micro-batcher.ts'
import type { RunResult } from '../../inference/execution/run-rows.ts'
import type { Clock } from '../../infra/runtime/clock.ts'
import type { SeededRandom } from './seeded-random.ts'

/** L(n) = fixedMs + rowMs · n, times log-normal noise (sigma 0.12), of which 0.3 % take five times as long. */
export interface SimulatedCost {
  readonly fixedMs: number
  readonly rowMs: number
}

/** When rows come, ms; each for itself. */
export type Arrivals = Float64Array

export interface Simulated {
  readonly p50Ms: number
  readonly p99Ms: number
  /** Share of rows that were answered later than the objective. */
  readonly late: number
  /** Share of the time in which the model ran. */
  readonly busy: number
  readonly meanBatch: number
  /** From the last arrival to the last answer, by the time in which rows came: above a few per cent, they come too fast. */
  readonly backlog: number
}

const SIGMA = 0.12
const SPIKE_EVERY = 0.003
const SPIKE = 5

/** Rows one by one, at random. */
export function poisson(random: SeededRandom, rowsPerMs: number, ms: number): Arrivals {
  const times: number[] = []
  for (let at = exponential(random, 1 / rowsPerMs); at < ms; at += exponential(random, 1 / rowsPerMs)) times.push(at)
  return Float64Array.from(times)
}

/** As Kafka gives them: a hundred on average at once, 0.5 µs apart. */
export function bursts(random: SeededRandom, rowsPerMs: number, ms: number): Arrivals {
  const mean = 100
  const times: number[] = []
  for (let at = 0; at < ms; at += exponential(random, mean / rowsPerMs)) {
    const rows = Math.max(1, Math.round(exponential(random, mean)))
    for (let row = 0; row < rows; row++) times.push(at + row * 0.0005)
  }
  return Float64Array.from(times).sort()
}

function exponential(random: SeededRandom, mean: number): number {
  return -mean * Math.log(1 - random.next())
}

/** Every batch has so many rows at most, and nothing is learned. */
export function fixedCap(cap: number): BatchPolicy {
  return {
    cap: () => cap,
    seriesMs: () => 0,
    isLate: () => true,
    aloneRows: Number.POSITIVE_INFINITY,
    decide: ({ rows }) => (rows >= cap ? 'full' : 'drained'),
    arrived() {},
    ran() {},
    tooMany() {},
    figures: () => ({ cap, efficientRows: cap, budgetRows: cap, overBudget: false, lingerMs: 0 }),
  }
}

/**
 * The batcher in virtual time, in front of one model that runs one batch after the other: rows are single works of `lanes` in
 * turn. Everything repeats with the random numbers' seed.
 */
export async function simulate(options: {
  readonly cost: SimulatedCost
  readonly arrivals: Arrivals
  readonly policy: BatchPolicy
  readonly random: SeededRandom
  readonly slots?: number
  readonly lanes?: number
  /** Rows may take so long, ms. */
  readonly objectiveMs?: number
}): Promise<Simulated> {
  const { cost, arrivals, policy, random, slots = 1, lanes = 4, objectiveMs = 10 } = options
  let now = 0
  const timers: { readonly at: number; readonly fire: () => void }[] = []
  const clock: Clock = {
    now: () => now,
    monotonic: () => now,
    sleep: (ms) => new Promise((fire) => timers.push({ at: now + ms, fire })),
  }
  let freeAt = 0
  let busyMs = 0
  let batches = 0
  let running = 0

  function run(rows: Float32Array): Promise<RunResult> {
    const noise = Math.exp(SIGMA * gauss(random)) * (random.chance(SPIKE_EVERY) ? SPIKE : 1)
    const ms = (cost.fixedMs + cost.rowMs * rows.length) * noise
    freeAt = Math.max(now, freeAt) + ms
    busyMs += ms
    batches++
    running++
    return new Promise((resolve) => {
      const batchRows = new Int32Array(rows.length).fill(rows.length)
      const result: RunResult = { outputs: rows, batchRows, failures: new Map(), provider: 'cpu', runMs: ms }
      const fire = (): void => {
        running--
        resolve(result)
      }
      timers.push({ at: freeAt, fire })
    })
  }

  const observer = { ran() {} }
  const batcher = createMicroBatcher({ width: 1, outputWidth: 1, run, slots, inline: false, policy, clock, observer })
  const latencies = new Float64Array(arrivals.length)
  let answered = 0
  let next = 0
  while (answered < arrivals.length) {
    timers.sort((one, other) => other.at - one.at)
    const timer = timers.at(-1)
    const arrival = arrivals[next] ?? Number.POSITIVE_INFINITY
    if (timer !== undefined && timer.at <= arrival) {
      timers.pop()
      now = timer.at
      timer.fire()
    } else {
      const row = next++
      now = arrival
      const work = { lane: `${row % lanes}`, rows: Float32Array.of(row), arrivedAt: now, deadline: now + objectiveMs }
      void batcher.submit(work).then(() => {
        latencies[row] = now - arrival
        answered++
      })
      // while every slot is taken they only queue up
      if (running === slots && (arrivals[next] ?? Number.POSITIVE_INFINITY) < (timer?.at ?? 0)) continue
    }
    await settled()
  }
  const late = latencies.reduce((count, ms) => count + (ms > objectiveMs ? 1 : 0), 0) / latencies.length
  const lastAt = arrivals.at(-1) as number
  latencies.sort()
  return {
    p50Ms: latencies[Math.floor(latencies.length / 2)] as number,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] as number,
    late,
    busy: busyMs / now,
    meanBatch: arrivals.length / batches,
    backlog: (now - lastAt) / lastAt,
  }
}

function gauss(random: SeededRandom): number {
  return Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next())
}
