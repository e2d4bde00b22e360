import { expect, test } from 'vitest'
import { readOutputs } from '../../inference/read-outputs.ts'
import type { CompiledModelChoice } from '../../schemas/pipeline/compiled.ts'
import { versionOf } from '../support/model-version.ts'
import { BOTH_OUTPUTS } from '../support/shaped-models.ts'

const choice = (tensor: string, index: number | 'max'): CompiledModelChoice => ({
  name: 'm',
  alias: 'production',
  directory: '/models',
  output: { tensor, index },
  budgetMs: 20,
  deadlineMs: null,
  provider: { name: 'cpu', demand: 'require' },
  fallback: null,
})

test('of several tensors the one that the pipeline names is read, and its outputs are counted within it', () => {
  const manifest = versionOf({
    ...BOTH_OUTPUTS,
    output: { ...BOTH_OUTPUTS.output, range: [0, 2], classes: ['low', 'middle', 'high', 'class'] },
  })
  const row = Float32Array.of(0.25, 0.5, 0.25, 2)
  const read = (tensor: string, index: number | 'max') => readOutputs(manifest, choice(tensor, index), row)
  expect(read('probabilities', 'max')).toMatchObject({ answer: { score: 0.5, label: 'middle', outputs: [...row] } })
  expect(read('probabilities', 2)).toMatchObject({ answer: { score: 0.25, label: 'middle' } })
  expect(read('label', 0)).toMatchObject({ answer: { score: 2, label: 'class' } })
  row[3] = 3
  expect(read('probabilities', 0)).toMatchObject({
    problem: { reason: 'output_out_of_range', message: 'label[0] is 3, outside 0 to 2' },
  })
})

test('a tensor has its own range, or that of all', () => {
  const [probabilities, label] = [
    { name: 'probabilities', width: 3 },
    { name: 'label', width: 1, range: [0, 2] },
  ]
  const manifest = versionOf({ ...BOTH_OUTPUTS, output: { tensors: [probabilities, label], range: [0, 1] } })
  const read = (...row: readonly number[]) => readOutputs(manifest, choice('label', 0), Float32Array.from(row))
  expect(read(0.25, 0.5, 0.25, 2)).toMatchObject({ answer: { score: 2 } })
  for (const [row, message] of [
    [[0.25, 1.5, 0.25, 2], 'probabilities[1] is 1.5, outside 0 to 1'],
    [[0.25, 0.5, 0.25, 3], 'label[0] is 3, outside 0 to 2'],
  ] as const) {
    expect(read(...row)).toMatchObject({ problem: { reason: 'output_out_of_range', message } })
  }
})
