import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { isHarmless } from '../../inference/models/is-harmless.ts'
import { onnxModel } from '../../infra/bench/hop/onnx.ts'
import {
  CIRCLING,
  CRASHING,
  CRASHING_AT_LOAD,
  HANGING,
  HUNGRY,
  ORDINARY,
  REFUSING,
} from '../support/onnx/hostile-models.ts'

const ROOT = join(import.meta.dirname, '../..')

test.each([
  'infra/sample/flights/models/1',
  'test/fixtures/models/flight-delay-2',
  'test/fixtures/pipelines/orders/models/1',
])('the model of %s is harmless', (folder) => {
  expect(isHarmless(readFileSync(join(ROOT, folder, 'model.onnx')), 'unknown')).toBe(true)
})

test.each(Object.entries({ ORDINARY, REFUSING }))(
  'a model of operators that always end is harmless: %s',
  (_, { model }) => {
    expect(isHarmless(onnxModel(model), 'unknown')).toBe(true)
  },
)

test.each(Object.entries({ HANGING, CIRCLING, CRASHING, HUNGRY, CRASHING_AT_LOAD }))('%s is not', (_, { model }) => {
  expect(isHarmless(onnxModel(model), 'unknown')).toBe(false)
})

test('trees that a probation has followed are not followed again', () => {
  expect(isHarmless(onnxModel(CIRCLING.model), 'known')).toBe(true)
})

test.each([
  ['floats', 1, true],
  ['whole numbers', 7, false],
])('division of %s', (_, to, harmless) => {
  const model = onnxModel({
    nodes: [
      { operator: 'Cast', inputs: ['x'], outputs: ['cast'], attributes: { to } },
      { operator: 'Identity', inputs: ['cast'], outputs: ['same'] },
      { operator: 'Div', inputs: ['same', 'same'], outputs: ['quotient'] },
      { operator: 'Cast', inputs: ['quotient'], outputs: ['y'], attributes: { to: 1 } },
    ],
    weights: [],
    input: { name: 'x', width: 1 },
    output: { name: 'y', width: 1 },
  })
  expect(isHarmless(model, 'unknown')).toBe(harmless)
})

test('what is no protocol buffer is nothing', () => {
  expect(() => isHarmless(Buffer.from('no model'), 'unknown')).toThrow()
})
