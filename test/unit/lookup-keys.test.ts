import { expect, test } from 'vitest'
import { compileLookupSites } from '../../processors/compile/lookup-sites.ts'
import type { CompiledFeature, KeyPart } from '../../schemas/pipeline/compiled.ts'

const hourOf: KeyPart = { kind: 'derive', fields: ['at'], compute: (at) => Number(at) - (Number(at) % 10) }
const feature = (name: string, by: readonly KeyPart[], table = 't'): CompiledFeature => ({
  name,
  table,
  by,
  kind: 'lookup',
  column: name,
  missing: Number.NaN,
  type: { type: 'float32' },
})
const field = (name: string): KeyPart => ({ kind: 'field', field: name })

test('features that look up the same row share a site', () => {
  const features = [
    feature('a', [field('x'), hourOf]),
    feature('b', [field('x'), { ...hourOf }]),
    feature('c', [field('y'), hourOf]),
    feature('d', [field('x'), hourOf], 'other'),
  ] as const
  const { sites, siteOf } = compileLookupSites(features)
  expect(sites.map(({ table }) => table)).toEqual(['t', 't', 'other'])
  expect(features.map((f) => siteOf(f as Parameters<typeof siteOf>[0]))).toEqual([0, 0, 1, 2])
})

function keyOf(by: readonly KeyPart[], event: Readonly<Record<string, unknown>>): unknown {
  const result = compileLookupSites([feature('f', by)]).sites[0]?.key(event)
  return result?.ok ? result.value : result?.failure.reason
}

test('a key is its parts in order; a part that is null means that there is no row', () => {
  expect(keyOf([field('x'), hourOf], { x: 'EWR', at: 1_234 })).toBe('EWR|1230')
  expect(keyOf([field('x')], { x: 'a|b%' })).toBe('a%7Cb%25')
  expect(keyOf([field('x'), hourOf], { x: null, at: 1 })).toBeNull()
  expect(keyOf([field('x')], {})).toBeNull()
})

test('a key that cannot be computed is the event’s error', () => {
  const part = (compute: () => unknown): KeyPart => ({
    kind: 'derive',
    fields: ['x'],
    compute: compute as () => string,
  })
  expect(keyOf([part(() => Number.NaN)], { x: 1 })).toBe('non_finite')
  expect(keyOf([part(() => ({}))], { x: 1 })).toBe('step_error')
  const broken = part(() => {
    throw new Error('x')
  })
  expect(keyOf([broken], { x: 1 })).toBe('step_error')
})
