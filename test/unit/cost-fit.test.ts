import { expect, test } from 'vitest'
import { createCostFit } from '../../inference/batching/cost-fit.ts'
import { seededRandom } from '../support/seeded-random.ts'

const MODELS = {
  'a small network': { fixedMs: 0.0099, rowMs: 0.000168, sizes: 1_000 },
  '100 trees': { fixedMs: 0.0128, rowMs: 0.00356, sizes: 66 },
  '500 trees': { fixedMs: 0.0467, rowMs: 0.0241, sizes: 36 },
  'a GPU': { fixedMs: 0.25, rowMs: 0.00005, sizes: 8_000 },
}

/** Noise of a tenth or so, and now and then a pause. */
function noisy(random: ReturnType<typeof seededRandom>): number {
  return (0.8 + 0.4 * random.next()) * (random.chance(0.003) ? 5 : 1)
}

test.each(Object.entries(MODELS))(
  'what %s costs is learned from nothing but its runs',
  (_, { fixedMs, rowMs, sizes }) => {
    const fit = createCostFit(null)
    const random = seededRandom(1)
    for (let run = 0; run < 3_000; run++) {
      const rows = random.between(1, sizes)
      fit.observe(rows, (fixedMs + rowMs * rows) * noisy(random))
    }
    expect(fit.fixedMs / fixedMs).toBeCloseTo(1, 0)
    expect(fit.rowMs / rowMs).toBeGreaterThan(0.85)
    expect(fit.rowMs / rowMs).toBeLessThan(1.15)
    expect(fit.tail).toBeGreaterThan(1)
    expect(fit.tail).toBeLessThan(2)
  },
)

test('what probation measured counts from the start, and follows a machine that is three times as slow', () => {
  const fit = createCostFit({ provider: 'cpu', fixedUs: 12.8, rowUs: 3.56, tail: 1.3 })
  expect(fit.predictMs(33)).toBeCloseTo(0.13, 3)
  expect(fit.tail).toBe(1.3)
  for (let run = 0; run < 100; run++) fit.observe(1 + (run % 66), 3 * (0.0128 + 0.00356 * (1 + (run % 66))))
  expect(fit.predictMs(33) / 0.39).toBeCloseTo(1, 1)
})

test('time that others keep the thread for does not make it a model whose batches should have thousands of rows', () => {
  const fit = createCostFit({ provider: 'cpu', fixedUs: 12.8, rowUs: 3.56, tail: 1.3 })
  for (let run = 0; run < 2_000; run++) {
    const rows = 1 + (run % 66)
    fit.observe(rows, 5 + 0.0128 + 0.00356 * rows)
  }
  expect((9 * fit.fixedMs) / fit.rowMs).toBeLessThanOrEqual(4 * 9 * (20 / 3.56) + 1e-6)
})

test.each([
  ['of one size, half and half', { fixedUs: 15_000, rowUs: 15_000 }, false, 30, 0.1],
  ['of rows that seemed to cost nothing', { fixedUs: 17, rowUs: 0 }, true, 0.013, 0.0036],
  ['of runs that seemed to cost nothing but rows', { fixedUs: 0, rowUs: 3.7 }, true, 0.013, 0.0036],
])('a measurement %s does not hold the shape', (_, measured, isShapeKnown, fixedMs, rowMs) => {
  const fit = createCostFit({ provider: 'cpu', tail: 1.5, ...measured }, isShapeKnown)
  const random = seededRandom(3)
  for (let run = 0; run < 3_000; run++) {
    const rows = random.between(1, 200)
    fit.observe(rows, (fixedMs + rowMs * rows) * noisy(random))
  }
  expect(fit.fixedMs / fixedMs).toBeGreaterThan(0.6)
  expect(fit.fixedMs / fixedMs).toBeLessThan(1.6)
  expect(fit.rowMs / rowMs).toBeGreaterThan(0.8)
  expect(fit.rowMs / rowMs).toBeLessThan(1.2)
})

test('runs that all have one size move the level and keep the shape', () => {
  const fit = createCostFit({ provider: 'cpu', fixedUs: 10, rowUs: 1, tail: 1.3 })
  const random = seededRandom(2)
  for (let run = 0; run < 5_000; run++) fit.observe(64, 0.148 * noisy(random))
  expect(fit.predictMs(64) / 0.148).toBeCloseTo(1, 1)
  expect(fit.fixedMs / fit.rowMs).toBeGreaterThan(5)
  expect(fit.fixedMs / fit.rowMs).toBeLessThan(20)
})

test('a pause of the machine is hardly taken for the model, and no sample makes a cost negative', () => {
  const fit = createCostFit({ provider: 'cpu', fixedUs: 10, rowUs: 1, tail: 1.3 })
  const before = fit.predictMs(100)
  fit.observe(100, 10_000)
  expect(fit.predictMs(100)).toBeLessThan(3 * before)
  for (const [rows, ms] of [
    [1, 5],
    [1_000, 0.0001],
    [0, 1],
    [1, Number.NaN],
    [1, Number.POSITIVE_INFINITY],
    [1, -1],
  ] as const)
    for (let run = 0; run < 200; run++) {
      fit.observe(rows, ms)
      expect(fit.fixedMs).toBeGreaterThan(0)
      expect(fit.rowMs).toBeGreaterThan(0)
      expect(Number.isFinite(fit.predictMs(1_000))).toBe(true)
    }
})

test('one run in fifty that takes four times as long is the tail', () => {
  const fit = createCostFit(null)
  for (let run = 0; run < 2_000; run++) fit.observe(10 + (run % 7), (run % 50 === 0 ? 4 : 1) * (0.1 + 0.01 * (run % 7)))
  expect(fit.tail).toBeGreaterThan(3)
  expect(fit.tail).toBeLessThan(5)
})
