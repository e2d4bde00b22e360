import { expect, test } from 'vitest'
import { vectorProblem } from '../../inference/vector-problem.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { float32, versionOf } from '../support/model-version.ts'
import { EMBEDDING, LINEAR } from '../support/shaped-models.ts'

const linear = (...features: readonly object[]): ModelManifest =>
  versionOf({ ...LINEAR, input: { tensor: 'x', missing: 'nan', features } })

test('a feature outside its range, as float32 and inclusive; a missing one has no range', () => {
  const manifest = linear({ name: 'a', type: 'float32', min: 0.1, max: 5 }, { name: 'b', type: 'float32', max: 3.3 })
  for (const fine of [
    [0.1, 3.3],
    [5, -1e30],
    [Number.NaN, Number.NaN],
  ]) {
    expect(vectorProblem(manifest, Float32Array.from(fine))).toBeNull()
  }
  expect(vectorProblem(manifest, [5.5, 0])).toEqual({
    reason: 'feature_out_of_range',
    message: 'feature a is 5.5, the model takes 0.10000000149011612 to 5',
  })
  expect(vectorProblem(manifest, [1, 4])).toMatchObject({ reason: 'feature_out_of_range' })
})

test('a feature for an int64 input is a whole number that float32 holds, and never missing', () => {
  const manifest = versionOf({
    ...EMBEDDING,
    input: { ...EMBEDDING.input, missing: 'nan', features: float32('a', 'kind', 'b') },
  })
  expect(vectorProblem(manifest, [Number.NaN, 2 ** 24, Number.NaN])).toBeNull()
  expect(vectorProblem(manifest, [1, -7, 1])).toBeNull()
  expect(vectorProblem(manifest, [1, 1.5, 1])).toEqual({
    reason: 'feature_not_whole',
    message: 'feature kind is 1.5, the model takes whole numbers up to 16777216',
  })
  expect(vectorProblem(manifest, [1, 2 ** 24 + 2, 1])).toMatchObject({ reason: 'feature_not_whole' })
  expect(vectorProblem(manifest, [1, Number.NaN, 1])).toEqual({
    reason: 'non_finite',
    message: 'feature kind is missing, which the model does not take',
  })
})
