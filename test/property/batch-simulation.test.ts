import { describe, expect, test } from 'vitest'
import { type BatchPolicy, type BatchPolicyOptions, createBatchPolicy } from '../../inference/batching/batch-policy.ts'
import { createCostFit } from '../../inference/batching/cost-fit.ts'
import { bursts, fixedCap, poisson, type Simulated, simulate } from '../support/batch-simulator.ts'
import { seededRandom } from '../support/seeded-random.ts'

const NETWORK = { fixedMs: 0.0099, rowMs: 0.000168 }
const TREES_100 = { fixedMs: 0.0128, rowMs: 0.00356 }
const TREES_500 = { fixedMs: 0.0467, rowMs: 0.0241 }
const GPU = { fixedMs: 0.25, rowMs: 0.00005 }

/** Nothing is known of the model, and no more is learned than its runs tell. */
function ours(options: Partial<BatchPolicyOptions> = {}) {
  return createBatchPolicy({
    fit: createCostFit(null),
    budgetMs: 10,
    slots: 1,
    inline: true,
    width: 30,
    outputWidth: 2,
    packedBytes: 0,
    cacheBytes: 2 ** 19,
    bounds: { maxRows: 65_536, maxBytes: 2 ** 26 },
    maxLingerMs: 0,
    ...options,
  })
}

const SEEDS = [1, 2]

describe.each(SEEDS)('arrivals of seed %i', (seed) => {
  const arrivals = () => seededRandom(seed)
  const noise = () => seededRandom(seed + 100)

  test('a small network at twice what it can do row by row: without batches it falls behind, greedily it does not', async () => {
    const rows = poisson(arrivals(), 187, 100)
    const single = await simulate({ cost: NETWORK, arrivals: rows, policy: fixedCap(1), random: noise() })
    const greedy = await simulate({ cost: NETWORK, arrivals: rows, policy: ours(), random: noise() })
    expect(single.backlog).toBeGreaterThan(0.5)
    expect(greedy.backlog).toBeLessThan(0.01)
    expect(greedy.p99Ms).toBeLessThan(0.1)
  })

  test('100 trees at 80 % of their peak: as good as without a cap, or better', async () => {
    const rows = poisson(arrivals(), 222, 150)
    const single = await simulate({ cost: TREES_100, arrivals: rows, policy: fixedCap(1), random: noise() })
    const uncapped = await simulate({ cost: TREES_100, arrivals: rows, policy: fixedCap(1_024), random: noise() })
    const greedy = await simulate({ cost: TREES_100, arrivals: rows, policy: ours(), random: noise() })
    expect(single.backlog).toBeGreaterThan(1)
    expect(greedy.p99Ms).toBeLessThan(1.5 * uncapped.p99Ms)
    expect(greedy.backlog).toBeLessThan(0.02)
  })

  test('500 trees and bursts: the cap answers more in time than no cap and than no batches', async () => {
    const rows = bursts(arrivals(), 12, 8_000)
    const of = (policy: BatchPolicy): Promise<Simulated> =>
      simulate({ cost: TREES_500, arrivals: rows, policy, random: noise() })
    const [single, uncapped, greedy] = [await of(fixedCap(1)), await of(fixedCap(1_024)), await of(ours())]
    expect(greedy.late).toBeLessThan(0.8 * uncapped.late)
    expect(greedy.p50Ms).toBeLessThan(uncapped.p50Ms)
    expect(greedy.late).toBeLessThan(0.5 * single.late)
  })

  test('cost as a GPU has it: a cap that suits trees falls behind, the one that is learned does not', async () => {
    const rows = poisson(arrivals(), 1_000, 50)
    const small = await simulate({ cost: GPU, arrivals: rows, policy: fixedCap(128), random: noise() })
    const greedy = await simulate({ cost: GPU, arrivals: rows, policy: ours({ inline: false }), random: noise() })
    expect(small.backlog).toBeGreaterThan(0.5)
    expect(greedy.backlog).toBeLessThan(0.05)
    expect(greedy.p99Ms).toBeLessThan(2)
  })

  test('a wait saves CPU where the thread is busy with small batches, and costs less than the budget', async () => {
    const rows = poisson(arrivals(), 80, 600)
    const at = (maxLingerMs: number): Promise<Simulated> =>
      simulate({ cost: NETWORK, arrivals: rows, policy: ours({ maxLingerMs }), random: noise() })
    const [none, some] = [await at(0), await at(2)]
    expect(none.busy).toBeGreaterThan(0.5)
    expect(some.busy).toBeLessThan(0.4 * none.busy)
    expect(some.p99Ms).toBeLessThan(2)
    expect(some.late).toBe(0)
  })

  test('a budget that cannot be kept does not make the model fall behind', async () => {
    const rows = poisson(arrivals(), 200, 150)
    const policy = ours({ budgetMs: 0.1 })
    const greedy = await simulate({ cost: TREES_100, arrivals: rows, policy, random: noise() })
    expect(policy.figures().overBudget).toBe(true)
    expect(greedy.backlog).toBeLessThan(0.05)
  })

  test('a second slot hands over ahead what is efficient, and falls behind no more than one does', async () => {
    const rows = poisson(arrivals(), 222, 100)
    const policy = ours({ slots: 2, inline: false })
    const two = await simulate({ cost: TREES_100, arrivals: rows, policy, random: noise(), slots: 2 })
    expect(two.backlog).toBeLessThan(0.02)
    expect(two.meanBatch).toBeGreaterThan(8)
  })
})
