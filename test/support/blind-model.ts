import { type OnnxNode, onnxModel } from '../../infra/bench/hop/onnx.ts'
import { digestOf } from './model-version.ts'
import { addVersion } from './scoring.ts'

/** Of the sample's vectors: where the airport of departure is, and which of them the model is blind to. */
const ORIGIN = 3
const LGA = 2
export const BLIND_TO = 'LGA'
/** What it answers for every other flight, NaN as airport included. */
export const BLIND_SCORE = 0.25

/**
 * A version of the sample model that answers NaN for one airport, and one score for all others; `model` is its model's name. No golden
 * row is from there, so that it passes its probation. Answers the version's folder.
 */
export function addBlind(directory: string, version: string, model: string): string {
  const onnx = blindModel()
  return addVersion(directory, version, {
    model: onnx,
    edit(manifest) {
      manifest['name'] = model
      manifest.sha256 = digestOf(onnx)
      manifest.golden = manifest.golden
        .filter(({ features }) => features[ORIGIN] !== LGA)
        .map(({ features }) => ({ features, outputs: [1 - BLIND_SCORE, BLIND_SCORE] }))
    },
  })
}

/** The root of a number that is below 0 for that airport alone. */
function blindModel(): Buffer {
  const node = (operator: string, inputs: readonly string[], output: string, attributes = {}): OnnxNode => ({
    operator,
    inputs,
    outputs: [output],
    attributes,
  })
  return onnxModel({
    nodes: [
      node('Gather', ['features', 'column'], 'origin', { axis: 1 }),
      node('Equal', ['origin', 'airport'], 'isThere'),
      node('Cast', ['isThere'], 'there', { to: 1 }),
      node('Sub', ['square', 'there'], 'radicand'),
      node('Sqrt', ['radicand'], 'late'),
      node('Sub', ['one', 'late'], 'inTime'),
      node('Concat', ['inTime', 'late'], 'probabilities', { axis: 1 }),
    ],
    weights: [
      { name: 'column', shape: [1], values: BigInt64Array.of(BigInt(ORIGIN)) },
      { name: 'airport', shape: [1], values: Float32Array.of(LGA) },
      { name: 'square', shape: [1], values: Float32Array.of(BLIND_SCORE ** 2) },
      { name: 'one', shape: [1], values: Float32Array.of(1) },
    ],
    input: { name: 'features', width: 16 },
    output: { name: 'probabilities', width: 2 },
  })
}
