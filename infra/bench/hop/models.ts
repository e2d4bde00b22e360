import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { type OnnxNode, onnxModel, type Weights } from './onnx.ts'

export type ModelKind = 'mlp' | 'trees'

const INPUT = 'features'
const OUTPUT = 'probabilities'
const CLASSES = 2
const TREES = 100
/** Splits on the way to a leaf: 32 leaves, about as many as LightGBM's default. */
const DEPTH = 5
const GOLDEN_ROWS = 3

/** Writes a version folder of a model of the pipeline's features with weights from a fixed seed; the model file's path. */
export async function writeModel(pipeline: CompiledPipeline, kind: ModelKind, directory: string): Promise<string> {
  const width = pipeline.features.length
  const model = kind === 'mlp' ? perceptron(width) : forest(width)
  const bytes = onnxModel({ ...model, input: { name: INPUT, width }, output: { name: OUTPUT, width: CLASSES } })
  const session = await InferenceSession.create(bytes, { intraOpNumThreads: 1 })
  const rows = Array.from({ length: GOLDEN_ROWS * width }, (_, at) => at % 7)
  const tensor = new Tensor('float32', Float32Array.from(rows), [GOLDEN_ROWS, width])
  const answer = (await session.run({ [INPUT]: tensor }, [OUTPUT]))[OUTPUT]
  const outputs = Array.from((answer?.data ?? []) as Float32Array)
  await session.release()

  const folder = join(directory, '1')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'model.onnx'), bytes)
  const golden = Array.from({ length: GOLDEN_ROWS }, (_, row) => ({
    features: rows.slice(row * width, (row + 1) * width),
    outputs: outputs.slice(row * CLASSES, (row + 1) * CLASSES),
  }))
  const manifest = {
    name: pipeline.model.name,
    version: '1',
    file: 'model.onnx',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    task: 'binary',
    input: { tensor: INPUT, features: pipeline.featureSet.features, missing: 'nan' },
    output: { tensor: OUTPUT, width: CLASSES },
    golden,
  }
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
  return join(folder, 'model.onnx')
}

interface Model {
  readonly nodes: readonly OnnxNode[]
  readonly weights: readonly Weights[]
}

/** Numbers between -1 and 1, by the generator of flights.ts. */
function dice(): () => number {
  let state = 7
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 31 - 1
  }
}

/** width-64-32-2, missing values as 0 and everything scaled down so that it does not saturate. */
function perceptron(width: number): Model {
  const roll = dice()
  const sizes = [width, 64, 32, CLASSES]
  const weights: Weights[] = [
    { name: 'zero', shape: [1], values: new Float32Array(1) },
    { name: 'scale', shape: [1], values: Float32Array.of(0.001) },
  ]
  const nodes: OnnxNode[] = [
    { operator: 'IsNaN', inputs: [INPUT], outputs: ['missing'] },
    { operator: 'Where', inputs: ['missing', 'zero', INPUT], outputs: ['known'] },
    { operator: 'Mul', inputs: ['known', 'scale'], outputs: ['layer0'] },
  ]
  for (let layer = 1; layer < sizes.length; layer++) {
    const [from = 0, to = 0] = [sizes[layer - 1], sizes[layer]]
    weights.push({ name: `w${layer}`, shape: [from, to], values: Float32Array.from({ length: from * to }, roll) })
    weights.push({ name: `b${layer}`, shape: [to], values: Float32Array.from({ length: to }, roll) })
    const inputs = [`layer${layer - 1}`, `w${layer}`, `b${layer}`]
    const last = layer === sizes.length - 1
    nodes.push({ operator: 'Gemm', inputs, outputs: [`sum${layer}`] })
    nodes.push(
      last
        ? { operator: 'Softmax', inputs: [`sum${layer}`], outputs: [OUTPUT], attributes: { axis: 1 } }
        : { operator: 'Relu', inputs: [`sum${layer}`], outputs: [`layer${layer}`] },
    )
  }
  return { nodes, weights }
}

/** Complete binary trees; node n's children are 2n + 1 and 2n + 2. */
function forest(width: number): Model {
  const roll = dice()
  const splits = 2 ** DEPTH - 1
  const nodes = 2 * splits + 1
  const all = Array.from({ length: TREES * nodes }, (_, at) => ({ tree: Math.floor(at / nodes), node: at % nodes }))
  const isSplit = ({ node }: { readonly node: number }): boolean => node < splits
  const leaves = all.filter((one) => !isSplit(one))
  const classifier: OnnxNode = {
    operator: 'TreeEnsembleClassifier',
    domain: 'ai.onnx.ml',
    inputs: [INPUT],
    outputs: ['label', OUTPUT],
    attributes: {
      nodes_treeids: all.map(({ tree }) => tree),
      nodes_nodeids: all.map(({ node }) => node),
      nodes_featureids: all.map((one) => (isSplit(one) ? Math.floor(((roll() + 1) / 2) * width) % width : 0)),
      nodes_values: { floats: all.map((one) => (isSplit(one) ? roll() * 40 + 30 : 0)) },
      nodes_modes: all.map((one) => (isSplit(one) ? 'BRANCH_LEQ' : 'LEAF')),
      nodes_truenodeids: all.map((one) => (isSplit(one) ? 2 * one.node + 1 : 0)),
      nodes_falsenodeids: all.map((one) => (isSplit(one) ? 2 * one.node + 2 : 0)),
      nodes_missing_value_tracks_true: all.map(({ node }) => node % 2),
      class_treeids: leaves.map(({ tree }) => tree),
      class_nodeids: leaves.map(({ node }) => node),
      class_ids: leaves.map(() => 0),
      class_weights: { floats: leaves.map(() => roll() / 10) },
      classlabels_int64s: [0, 1],
      post_transform: 'LOGISTIC',
    },
  }
  return { nodes: [classifier], weights: [] }
}
