import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FeatureSet } from '../../schemas/pipeline/compiled.ts'
import { explainFeatureSetDifference, featureSetOf } from '../../schemas/pipeline/feature-set.ts'

type Feature = FeatureSet['features'][number]

const name = fc.stringMatching(/^[a-z_][a-z0-9_]{0,6}$/)
const values = fc.uniqueArray(fc.string({ maxLength: 4 }), { minLength: 1, maxLength: 5 })
const feature: fc.Arbitrary<Feature> = fc.oneof(
  fc.record({ name, type: fc.constantFrom('float32' as const, 'flag' as const) }),
  fc.record({ name, type: fc.constant('category' as const), values }),
)
const features = fc.uniqueArray(feature, { minLength: 1, maxLength: 8, selector: (f) => f.name })

/** Said of both sides: the same digest, and nothing to explain. */
function same(a: readonly Feature[], b: readonly Feature[]): readonly [boolean, boolean] {
  return [featureSetOf(a).digest === featureSetOf(b).digest, explainFeatureSetDifference(a, b).length === 0]
}

test('equal features have one digest, whatever else hangs on them', () => {
  fc.assert(
    fc.property(features, (list) => {
      const reversedKeys = list.map((f) => Object.fromEntries(Object.entries({ ...f, more: 1 }).reverse()) as Feature)
      expect(same(list, reversedKeys)).toEqual([true, true])
      expect(featureSetOf(list).digest).toMatch(/^[0-9a-f]{32}$/)
    }),
  )
})

test('any two lists of features: digests are equal exactly when there is no difference to explain', () => {
  fc.assert(
    fc.property(features, features, (a, b) => {
      const equal = JSON.stringify(a) === JSON.stringify(b)
      expect(same(a, b)).toEqual([equal, equal])
    }),
  )
})

test('another order, type, name, vocabulary or length is another feature set, and is explained', () => {
  fc.assert(
    fc.property(features, fc.nat(), values, (list, seed, vocabulary) => {
      const at = seed % list.length
      const one = list[at]
      if (one === undefined) throw new Error('there is always one')
      const changed = (other: Feature): readonly Feature[] => list.with(at, other)
      const variants = [
        [...list.slice(0, at), ...list.slice(at + 1)],
        changed({ ...one, name: `${one.name}x` }),
        changed({ name: one.name, type: one.type === 'flag' ? 'float32' : 'flag' }),
        ...(list.length > 1 ? [[...list.slice(1), ...list.slice(0, 1)]] : []),
        ...(one.type === 'category' && one.values.join() !== vocabulary.join()
          ? [changed({ ...one, values: vocabulary })]
          : []),
        ...(one.type === 'category' ? [changed({ ...one, values: [...one.values, 'longer'] })] : []),
      ]
      for (const variant of variants) expect(same(list, variant)).toEqual([false, false])
    }),
  )
})
