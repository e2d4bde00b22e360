/** What holds of every set of scores and labels. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { binnedAuc, exactAuc } from '../../sinks/drift/statistics/auc.ts'
import { calibrationCurve, expectedCalibrationError } from '../../sinks/drift/statistics/calibration-error.ts'
import { estimatedAuc } from '../../sinks/drift/statistics/cbpe.ts'
import { fitIsotonic, isotonicAt } from '../../sinks/drift/statistics/isotonic.ts'
import { compareAucs } from '../../sinks/drift/statistics/paired.ts'
import { ksDistance, wassersteinDistance } from '../../sinks/drift/statistics/parity/scipy-distances.ts'
import { ksPValue } from '../../sinks/drift/statistics/parity/scipy-ks.ts'
import { fitReconstruction, reconstructionError } from '../../sinks/drift/statistics/reconstruction.ts'
import {
  type FeatureScale,
  mergeMoments,
  standardised,
  standardMoments,
} from '../../sinks/drift/statistics/second-moments.ts'

const rows = fc.array(fc.record({ score: fc.integer({ min: 0, max: 20 }), label: fc.nat(1) }), {
  minLength: 2,
  maxLength: 60,
})

test('AUC: the share of pairs in order, ties half, from rows, bins and DeLong’s placements alike', () => {
  fc.assert(
    fc.property(rows, (drawn) => {
      const scores = drawn.map((row) => row.score / 20)
      const labels = drawn.map((row) => row.label)
      const positives = scores.filter((_, row) => labels[row] === 1)
      const negatives = scores.filter((_, row) => labels[row] === 0)
      fc.pre(positives.length > 1 && negatives.length > 1)
      let wins = 0
      for (const p of positives) for (const n of negatives) wins += p > n ? 1 : p === n ? 0.5 : 0
      const auc = wins / positives.length / negatives.length
      expect(exactAuc(scores, labels)).toBeCloseTo(auc, 12)
      const bins = [1, 0].map((label) => {
        const counts = Array<number>(21).fill(0)
        for (const row of drawn) if (row.label === label) counts[row.score]!++
        return counts
      })
      expect(binnedAuc(bins[0]!, bins[1]!)).toBeCloseTo(auc, 12)
      const flipped = compareAucs(
        labels,
        scores,
        scores.map((score) => -score),
      )
      expect(flipped.champion).toBeCloseTo(auc, 12)
      expect(flipped.challenger).toBeCloseTo(1 - auc, 12)
    }),
  )
})

test('an isotonic fit never falls, keeps the mean, and is no worse than any constant', () => {
  fc.assert(
    fc.property(rows, (drawn) => {
      const x = drawn.map((row) => row.score)
      const y = drawn.map((row) => row.label)
      const fit = fitIsotonic(x, y)
      expect(fit.y).toEqual(fit.y.toSorted((a, b) => a - b))
      expect(fit.x).toEqual(fit.x.toSorted((a, b) => a - b))
      const values = x.map((at) => isotonicAt(fit, at))
      const mean = y.reduce((sum, value) => sum + value, 0) / y.length
      expect(values.reduce((sum, value) => sum + value, 0) / y.length).toBeCloseTo(mean, 10)
      const error = (of: readonly number[]): number => of.reduce((sum, value, row) => sum + (value - y[row]!) ** 2, 0)
      expect(error(values)).toBeLessThanOrEqual(error(y.map(() => mean)) + 1e-9)
    }),
  )
})

test('estimates stay in bounds', () => {
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 15 }), (drawn, bins) => {
      const scores = drawn.map((row) => 0.05 + (row.score / 20) * 0.9)
      const labels = drawn.map((row) => row.label)
      const auc = estimatedAuc(scores, scores)
      expect(auc).toBeGreaterThanOrEqual(0.5 - 1e-3)
      expect(auc).toBeLessThanOrEqual(1 + 1e-9)
      for (const kind of ['equal-width', 'equal-count'] as const) {
        const curve = calibrationCurve(scores, labels, { kind, bins })
        expect(curve.reduce((sum, bin) => sum + bin.count, 0)).toBe(drawn.length)
        const error = expectedCalibrationError(curve)
        expect(error).toBeGreaterThanOrEqual(0)
        expect(error).toBeLessThanOrEqual(1)
      }
    }),
  )
})

const values = fc.array(fc.integer({ min: -20, max: 20 }), { minLength: 1, maxLength: 25 })

test('distances of samples: symmetric, zero to itself; Wasserstein is the shift, and never above KS times the range', () => {
  fc.assert(
    fc.property(values, values, fc.nat(9), (x, y, shift) => {
      const ks = ksDistance(x, y)
      const moved = wassersteinDistance(x, y)
      expect(ksDistance(y, x)).toBeCloseTo(ks, 12)
      expect(wassersteinDistance(y, x)).toBeCloseTo(moved, 10)
      expect(ksDistance(x, x)).toBe(0)
      expect(wassersteinDistance(x, x)).toBe(0)
      expect(
        wassersteinDistance(
          x,
          x.map((value) => value + shift),
        ),
      ).toBeCloseTo(shift, 10)
      expect(moved).toBeLessThanOrEqual(ks * (Math.max(...x, ...y) - Math.min(...x, ...y)) + 1e-9)
      const exact = ksPValue(ks, x.length, y.length)
      expect(exact).toBeGreaterThan(0)
      expect(exact).toBeLessThanOrEqual(1)
      expect(ksPValue(ks, y.length, x.length)).toBeCloseTo(exact, 10)
    }),
  )
})

test('reconstruction error: the same from panes in any cut, from raw moments, and row by row', () => {
  const row = fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 4, maxLength: 4 })
  const scale: FeatureScale = { means: [1, 0, -2, 0.5], deviations: [3, 5, 4, 2] }
  const identity: FeatureScale = { means: [0, 0, 0, 0], deviations: [1, 1, 1, 1] }
  const sample = fc.array(row, { minLength: 2, maxLength: 20 })
  fc.assert(
    fc.property(sample, sample, fc.nat(20), (reference, window, cut) => {
      const model = fitReconstruction(standardMoments(reference, scale))
      const { rms } = reconstructionError(model, standardMoments(window, scale))
      const panes = [window.slice(0, cut), window.slice(cut)]
      const merged = mergeMoments(panes.map((pane) => standardMoments(pane, scale)))
      expect(reconstructionError(model, merged).rms).toBeCloseTo(rms, 7)
      const raw = standardised(standardMoments(window, identity), scale)
      expect(reconstructionError(model, raw).rms).toBeCloseTo(rms, 6)
      const squares = window.map((values) => {
        const z = values.map((value, i) => (value - scale.means[i]!) / scale.deviations[i]!)
        return z.reduce((sum, _, i) => {
          const left = z.reduce((rest, value, j) => rest + model.residual[i * 4 + j]! * value, 0)
          return sum + left ** 2
        }, 0)
      })
      expect(squares.reduce((sum, value) => sum + value, 0) / window.length).toBeCloseTo(rms ** 2, 7)
    }),
  )
})
