import { setTimeout as delay } from 'node:timers/promises'
import type { Work } from '../../../inference/batching/micro-batcher.ts'
import { PROCESSORS } from '../../../processors/config.ts'
import { seededRandom } from '../../support/seeded-random.ts'
import { LANES, type RunAlone, rotation, TAKE_ROWS, workOf } from './measure.ts'
import { WIDTH } from './models.ts'

/** How often a lane hands over rows, ms: as often as processors hand them on, which wait so long for more. */
const EVERY_MS = Number(PROCESSORS.lingerMs.fallback)

/** Settles when the rows are answered. */
type Answer = (work: Work) => Promise<unknown>

/** Lanes hand over rows at random times, every 2 ms each on average or as soon as they are a take, whatever is answered. What each takes from when it was due, ms. */
export async function loaded(
  answer: Answer,
  pool: Float32Array,
  options: { readonly rowsPerSecond: number; readonly budgetMs: number; readonly ms: number },
): Promise<readonly number[]> {
  const { rowsPerSecond, budgetMs, ms } = options
  const take = rotation(pool)
  const random = seededRandom(5)
  const rows = Math.min(TAKE_ROWS, Math.max(1, Math.round((rowsPerSecond / 1_000) * (EVERY_MS / LANES))))
  const meanMs = rows / (rowsPerSecond / 1_000)
  const latencies: number[] = []
  const pending: Promise<void>[] = []
  const startedAt = performance.now()
  let due = startedAt
  while (performance.now() - startedAt < ms) {
    for (; due <= performance.now(); due += -meanMs * Math.log(1 - random.next())) {
      const arrivedAt = due
      const work = workOf(random.between(0, LANES - 1), take(rows), arrivedAt, arrivedAt + budgetMs)
      pending.push(answer(work).then(() => void latencies.push(performance.now() - arrivedAt)))
    }
    // late by up to a millisecond, which counts; waiting without a pause would take the processor from the model
    await delay(1)
  }
  await Promise.all(pending)
  return latencies
}

interface Waiting {
  readonly rows: number
  readonly done: () => void
}

/**
 * The runtime alone, with nothing between: what waits when it is free is one run, of up to `most` rows or of one work, of rows
 * that are packed already. What this takes is what the machine and the arrivals cost, whoever batches.
 */
export function answeredAlone(run: RunAlone, most: number): Answer {
  const waiting: Waiting[] = []
  let isBusy = false

  function nextBatch(): readonly Waiting[] {
    let rows = 0
    const over = waiting.findIndex((one) => {
      rows += one.rows
      return rows > most
    })
    return waiting.splice(0, over === -1 ? waiting.length : Math.max(1, over))
  }

  async function work(): Promise<void> {
    while (waiting.length > 0) {
      const batch = nextBatch()
      await run(batch.reduce((rows, one) => rows + one.rows, 0))
      for (const { done } of batch) done()
    }
    isBusy = false
  }

  return ({ rows }) =>
    new Promise<void>((done) => {
      waiting.push({ rows: rows.length / WIDTH, done })
      if (isBusy) return
      isBusy = true
      // once everything waits that is due
      queueMicrotask(() => void work())
    })
}
