import { expect, test } from 'vitest'
import { createPackRows, packedBytes } from '../../inference/models/pack-rows.ts'
import type { ModelInput } from '../../schemas/pipeline/manifest/model-input.ts'

type Tensor = ModelInput['tensors'][number]

function inputOf(...tensors: readonly Tensor[]): ModelInput {
  const features = ['a', 'b', 'c'].map((name) => ({ name, type: 'float32' as const }))
  return { tensors, features, ranges: features.map(() => null), missing: 'refuse', batch: null }
}

const tensor = (name: string, type: Tensor['type'], ...columns: readonly number[]): Tensor => ({ name, type, columns })

test.each([
  ['one input of the features in their order takes rows as they are', [tensor('x', 'float32', 0, 1, 2)], 0],
  ['in another order they are packed', [tensor('x', 'float32', 1, 0, 2)], 12],
  ['whole numbers take twice as much', [tensor('id', 'int64', 2), tensor('x', 'float32', 0, 1)], 16],
  ['one input of whole numbers', [tensor('ids', 'int64', 0, 1, 2)], 24],
] as const)('what a run is given for a row: %s', (_, tensors, bytes) => {
  const input = inputOf(...tensors)
  expect(packedBytes(input)).toBe(bytes)
  const rows = Float32Array.of(1, 2, 3, 4, 5, 6)
  const { feeds, free } = createPackRows(input, [])(rows, 2)
  if (bytes === 0) expect(feeds[0]?.data).toBe(rows)
  else expect(feeds.reduce((sum, { data }) => sum + data.byteLength, 0)).toBe(2 * bytes)
  free()
})
