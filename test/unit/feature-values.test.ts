import { expect, test } from 'vitest'
import { compileFeatures, type UsableRow } from '../../processors/compile/features.ts'
import { compileLookupSites } from '../../processors/compile/lookup-sites.ts'
import type { CompiledFeature, Scalar } from '../../schemas/pipeline/compiled.ts'

const FLOAT32 = { type: 'float32' } as const
const base = { name: 'f', type: FLOAT32, missing: Number.NaN } as const

const number = (missing = Number.NaN): CompiledFeature => ({ ...base, kind: 'number', field: 'x', missing })
const flag: CompiledFeature = { ...base, kind: 'flag', field: 'x', type: { type: 'flag' } }
const category: CompiledFeature = {
  ...base,
  kind: 'category',
  field: 'x',
  values: ['a', 'b'],
  unseen: -1,
  type: { type: 'category', values: ['a', 'b'] },
}
const derive = (compute: (x: Scalar) => unknown): CompiledFeature => ({
  ...base,
  kind: 'derive',
  fields: ['x'],
  compute: compute as (...values: readonly Scalar[]) => number,
})
const lookup: CompiledFeature = {
  ...base,
  kind: 'lookup',
  table: 't',
  column: 'c',
  by: [{ kind: 'field', field: 'x' }],
}

/** One feature of one event: its value and whether it is degraded, or the reason it has none. */
function computed(feature: CompiledFeature, x: unknown, row: UsableRow = null): readonly [number, boolean] | string {
  const { siteOf } = compileLookupSites([feature])
  const out = new Float32Array(2)
  const result = compileFeatures([feature], siteOf)({ x }, [row], out, 1)
  return result.ok ? [out[1] as number, result.value.degraded] : result.failure.reason
}

test.each([
  ['a number', number(), 3.5, [3.5, false]],
  ['a number as the nearest float32', number(), 0.1, [Math.fround(0.1), false]],
  ['a number that is null', number(), null, [Number.NaN, false]],
  ['a number that is null, with a value for it', number(7), null, [7, false]],
  ['a number that is absent', number(7), undefined, [7, false]],
  ['a number that is NaN', number(), Number.NaN, 'non_finite'],
  ['a number that is infinite', number(), Number.NEGATIVE_INFINITY, 'non_finite'],
  ['a number beyond float32', number(), 3.5e38, 'non_finite'],
  ['the largest float32', number(), 3.4028234663852886e38, [3.4028234663852886e38, false]],
  ['a number that is a text', number(), '3', 'step_error'],
  ['a flag', flag, true, [1, false]],
  ['a flag that is false', flag, false, [0, false]],
  ['a flag that is null', flag, null, [Number.NaN, false]],
  ['a category', category, 'b', [1, false]],
  ['a category not seen before', category, 'toString', [-1, false]],
  ['a category that is null', category, null, [Number.NaN, false]],
] as const)('%s', (_name, feature, x, expected) => {
  expect(computed(feature, x)).toEqual(expected)
})

test('what is derived is a number, or missing', () => {
  expect(
    computed(
      derive((x) => Number(x) * 2),
      4,
    ),
  ).toEqual([8, false])
  expect(
    computed(
      derive(() => null),
      4,
    ),
  ).toEqual([Number.NaN, false])
  expect(
    computed(
      derive(() => undefined),
      4,
    ),
  ).toEqual([Number.NaN, false])
  expect(
    computed(
      derive(() => Number.NaN),
      4,
    ),
  ).toBe('non_finite')
  expect(
    computed(
      derive(() => 1e39),
      4,
    ),
  ).toBe('non_finite')
  expect(
    computed(
      derive(() => '1'),
      4,
    ),
  ).toBe('step_error')
  expect(
    computed(
      derive(async () => 1),
      4,
    ),
  ).toBe('step_error')
})

test('a step that throws on an event twice is the event’s error, once is not', () => {
  let calls = 0
  const flaky = derive(() => {
    calls += 1
    if (calls === 1) throw new Error('first time')
    return 5
  })
  expect(computed(flaky, 1)).toEqual([5, false])
  const broken = derive((x) => (x as unknown as string).length.toFixed().at(0)?.length)
  expect(computed(broken, null)).toBe('step_error')
})

test('a lookup without a usable row is missing and degraded; an empty column is only missing', () => {
  expect(computed(lookup, 'k', { c: 2.5 })).toEqual([2.5, false])
  expect(computed(lookup, 'k', { c: true })).toEqual([1, false])
  expect(computed(lookup, 'k', { c: null })).toEqual([Number.NaN, false])
  expect(computed(lookup, 'k', null)).toEqual([Number.NaN, true])
  expect(computed(lookup, 'k', { c: Number.POSITIVE_INFINITY })).toEqual([Number.NaN, true])
  expect(computed({ ...lookup, missing: -5 }, 'k', { c: 1e39 })).toEqual([-5, true])
})
