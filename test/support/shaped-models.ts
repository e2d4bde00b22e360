import { float32, type ModelVersion } from './model-version.ts'

/** x · w, [N, 2] to [N, 1]. */
const WEIGHTS = [2, -3] as const
export const linear = (a: number, b: number): number => a * WEIGHTS[0] + b * WEIGHTS[1]

/** A regression of the features a and b, which answers `linear` of them. */
export const LINEAR: ModelVersion = {
  model: {
    nodes: [{ operator: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
    weights: [{ name: 'w', shape: [2, 1], values: Float32Array.from(WEIGHTS) }],
    input: { name: 'x', width: 2 },
    output: { name: 'y', width: 1 },
  },
  input: { tensor: 'x', features: float32('a', 'b') },
  output: { tensor: 'y', width: 1 },
  golden: [{ features: [1, 1], outputs: [-1] }],
}

/** The same for exactly `rows` rows a run. */
export const linearBatch = (rows: number): ModelVersion => ({
  ...LINEAR,
  model: { ...LINEAR.model, input: { name: 'x', width: 2, rows }, output: { name: 'y', width: 1, rows } },
  input: { ...LINEAR.input, batch: rows },
})

const TABLE = [0, 10, 20, 30]
export const embedded = (a: number, id: number, b: number): number => linear(a, b) + (TABLE[id] ?? Number.NaN)

/** Float32 features b and a (in that order) and an id [N] int64, which a table of four has a number for. */
export const EMBEDDING: ModelVersion = {
  model: {
    nodes: [
      { operator: 'Gather', inputs: ['table', 'id'], outputs: ['known'] },
      { operator: 'MatMul', inputs: ['dense', 'w'], outputs: ['sum'] },
      { operator: 'Add', inputs: ['known', 'sum'], outputs: ['y'] },
    ],
    weights: [
      { name: 'table', shape: [4, 1], values: Float32Array.from(TABLE) },
      { name: 'w', shape: [2, 1], values: Float32Array.from(WEIGHTS.toReversed()) },
    ],
    input: [
      { name: 'dense', width: 2 },
      { name: 'id', width: null, type: 'int64' },
    ],
    output: { name: 'y', width: 1 },
  },
  input: {
    tensors: [
      { name: 'dense', type: 'float32', features: ['b', 'a'] },
      { name: 'id', type: 'int64', features: ['kind'] },
    ],
    features: [
      { name: 'a', type: 'float32' },
      { name: 'kind', type: 'category', values: ['p', 'q', 'r', 's'], min: 0, max: 3 },
      { name: 'b', type: 'float32' },
    ],
  },
  output: { tensor: 'y', width: 1 },
  golden: [{ features: [1, 2, 1], outputs: [19] }],
}

/** Logits of three classes: a, b and a + b. */
export const softmax = (a: number, b: number): readonly number[] => {
  const weights = [a, b, a + b].map(Math.exp)
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => weight / sum)
}

/** Probabilities [N, 3] of three classes, and beside them the number [N] int64 of the likeliest. */
export const CLASSES: ModelVersion = {
  model: {
    nodes: [
      { operator: 'MatMul', inputs: ['x', 'w'], outputs: ['logits'] },
      { operator: 'Softmax', inputs: ['logits'], outputs: ['probabilities'], attributes: { axis: 1 } },
      { operator: 'ArgMax', inputs: ['logits'], outputs: ['label'], attributes: { axis: 1, keepdims: 0 } },
    ],
    weights: [{ name: 'w', shape: [2, 3], values: Float32Array.of(1, 0, 1, 0, 1, 1) }],
    input: { name: 'x', width: 2 },
    output: [
      { name: 'label', width: null, type: 'int64' },
      { name: 'probabilities', width: 3 },
    ],
  },
  input: { tensor: 'x', features: float32('a', 'b') },
  output: { tensor: 'probabilities', width: 3, range: [0, 1], classes: ['low', 'middle', 'high'] },
  golden: [{ features: [0, 0], outputs: [1 / 3, 1 / 3, 1 / 3] }],
  more: { task: 'multiclass' },
}

/** Both of its outputs, the class last. */
export const BOTH_OUTPUTS: ModelVersion = {
  ...CLASSES,
  output: {
    tensors: [
      { name: 'probabilities', width: 3 },
      { name: 'label', width: 1 },
    ],
  },
  golden: [{ features: [1, 2], outputs: [...softmax(1, 2), 2] }],
  more: { task: 'multi-output' },
}
