import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createRowCheck, vectorProblem } from '../../inference/vector-problem.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { versionOf } from '../support/model-version.ts'
import { EMBEDDING } from '../support/shaped-models.ts'

const WIDTH = 3

/** Of three features, the second possibly for an int64 input. */
function manifestOf(
  whole: boolean,
  missing: 'nan' | 'refuse',
  ranges: ModelManifest['input']['ranges'],
): ModelManifest {
  const manifest = versionOf(EMBEDDING)
  const tensors = manifest.input.tensors.map((tensor) => (whole ? tensor : { ...tensor, type: 'float32' as const }))
  return { ...manifest, input: { ...manifest.input, tensors, missing, ranges } }
}

const range = fc.option(fc.tuple(fc.integer({ min: -3, max: 0 }), fc.integer({ min: 0, max: 3 })), { nil: null })
const value = fc.oneof(
  fc.integer({ min: -4, max: 4 }),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 0.5, 2 ** 24, 2 ** 24 + 2),
)

test('the quick check of a block says of each row what the slow one of a vector says', () => {
  const manifests = [true, false].flatMap((whole) =>
    (['nan', 'refuse'] as const).map((missing) => manifestOf(whole, missing, [null, null, null])),
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...manifests),
      fc.array(range, { minLength: WIDTH, maxLength: WIDTH }),
      fc.array(value, { maxLength: 8 * WIDTH }),
      (manifest, ranges, values) => {
        const ranged = { ...manifest, input: { ...manifest.input, ranges } }
        const rows = Float32Array.from(values)
        const check = createRowCheck(ranged)
        for (let row = 0; row < Math.floor(rows.length / WIDTH); row++) {
          const vector = Array.from(rows.subarray(row * WIDTH, (row + 1) * WIDTH))
          expect([vector, check(rows, row)]).toEqual([vector, vectorProblem(ranged, vector) === null])
        }
      },
    ),
  )
})
