import { expect, test } from 'vitest'
import { createBatchPolicy, type ProviderPolicy } from '../../inference/batching/batch-policy.ts'
import { createCostFit } from '../../inference/batching/cost-fit.ts'
import { policyByProvider } from '../../inference/batching/policy-by-provider.ts'
import type { Provider } from '../../inference/execution/run-rows.ts'

const COSTS = { cpu: { fixedUs: 10, rowUs: 2 }, cuda: { fixedUs: 400, rowUs: 0.1 } }

function policyOf(provider: Provider): ProviderPolicy {
  return createBatchPolicy({
    fit: createCostFit({ provider, ...COSTS[provider], tail: 1.5 }),
    budgetMs: 10,
    slots: 1,
    inline: false,
    width: 30,
    outputWidth: 2,
    packedBytes: 0,
    cacheBytes: 2 ** 19,
    bounds: { maxRows: 2_048, maxBytes: 2 ** 26 },
  })
}

/** Large batches go to the GPU. */
const expects = (rows: number): Provider => (rows >= 1_000 ? 'cuda' : 'cpu')

test('a batch is decided on by the policy of the provider where it would run', () => {
  const policies = { cpu: policyOf('cpu'), cuda: policyOf('cuda') }
  const policy = policyByProvider(policies, expects)
  expect(policy.cap(10)).toBe(policies.cpu.cap(10))
  expect(policy.cap(2_000)).toBe(policies.cuda.cap(2_000))
  expect(policies.cpu.cap(10)).not.toBe(policies.cuda.cap(10))
  // 40 ms on the CPU
  expect(policies.cpu.isLate(20_000)).toBe(true)
  expect(policy.isLate(20_000)).toBe(false)
})

test('a small batch that tells what a row costs is not asked for again where it was run elsewhere', () => {
  const policy = policyByProvider({ cpu: policyOf('cpu'), cuda: policyOf('cuda') }, expects)
  const small: number[] = []
  for (let batch = 0; batch < 192; batch++) {
    const cap = policy.cap(2_000)
    const provider = expects(cap)
    if (provider === 'cpu') small.push(batch)
    const { fixedUs, rowUs } = COSTS[provider]
    policy.ran(cap, cap, 'full', (fixedUs + rowUs * cap) / 1_000, provider)
  }
  expect(small).toEqual([63, 127, 191])
})
