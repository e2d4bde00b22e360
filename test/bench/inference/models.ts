import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { type OnnxGraph, type OnnxNode, onnxModel, type Weights } from '../../../infra/bench/hop/onnx.ts'
import { seededRandom } from '../../support/seeded-random.ts'

export interface BenchModel {
  readonly name: string
  readonly budgetMs: number
  readonly graph: OnnxGraph
  /** Floats of a row's outputs. */
  readonly outputWidth: number
  /** Features that are ids, and come first. */
  readonly ids: number
}

/** Features of every model. */
export const WIDTH = 30
export const OUTPUT = 'probabilities'
const INPUT = 'features'
const IDS = 8
const VOCABULARY = 100_000
const EMBEDDED = 16

export function benchModels(): readonly BenchModel[] {
  return [
    { name: 'mlp', budgetMs: 10, graph: perceptron([WIDTH, 64, 64, 2]), outputWidth: 2, ids: 0 },
    { name: 'trees100d6', budgetMs: 10, graph: forest(100, 6), outputWidth: 2, ids: 0 },
    { name: 'trees500d8', budgetMs: 20, graph: forest(500, 8), outputWidth: 2, ids: 0 },
    { name: 'embedding', budgetMs: 10, graph: embedding(), outputWidth: 1, ids: IDS },
    { name: 'mlp34mb', budgetMs: 100, graph: perceptron([WIDTH, 2_048, 2_048, 2_048, 2]), outputWidth: 2, ids: 0 },
  ]
}

function weightsOf(seed: number): (name: string, ...shape: readonly number[]) => Weights {
  const random = seededRandom(seed)
  return (name, ...shape) => {
    const length = shape.reduce((product, size) => product * size, 1)
    const scale = 2 / Math.sqrt(shape[0] ?? 1)
    return { name, shape, values: Float32Array.from({ length }, () => (random.next() - 0.5) * scale) }
  }
}

function layers(sizes: readonly number[], from: string): { nodes: OnnxNode[]; weights: Weights[] } {
  const weight = weightsOf(7)
  const nodes: OnnxNode[] = []
  const weights: Weights[] = []
  for (let layer = 1; layer < sizes.length; layer++) {
    const [rows = 0, columns = 0] = [sizes[layer - 1], sizes[layer]]
    weights.push(weight(`w${layer}`, rows, columns), weight(`b${layer}`, columns))
    const inputs = [layer === 1 ? from : `layer${layer - 1}`, `w${layer}`, `b${layer}`]
    nodes.push({ operator: 'Gemm', inputs, outputs: [`sum${layer}`] })
    const last = layer === sizes.length - 1
    const outputs = [last ? OUTPUT : `layer${layer}`]
    nodes.push({ operator: last ? 'Sigmoid' : 'Relu', inputs: [`sum${layer}`], outputs })
  }
  return { nodes, weights }
}

function perceptron(sizes: readonly number[]): OnnxGraph {
  const output = { name: OUTPUT, width: sizes.at(-1) ?? 1 }
  return { ...layers(sizes, INPUT), input: { name: INPUT, width: WIDTH }, output }
}

/** Eight ids, looked up in one table of 100,000 rows, and 22 numbers. */
function embedding(): OnnxGraph {
  const { nodes, weights } = layers([IDS * EMBEDDED + WIDTH - IDS, 64, 1], 'joined')
  return {
    nodes: [
      { operator: 'Gather', inputs: ['table', 'ids'], outputs: ['found'], attributes: { axis: 0 } },
      { operator: 'Flatten', inputs: ['found'], outputs: ['flat'], attributes: { axis: 1 } },
      { operator: 'Concat', inputs: ['flat', 'dense'], outputs: ['joined'], attributes: { axis: 1 } },
      ...nodes,
    ],
    weights: [weightsOf(8)('table', VOCABULARY, EMBEDDED), ...weights],
    input: [
      { name: 'ids', width: IDS, type: 'int64' },
      { name: 'dense', width: WIDTH - IDS },
    ],
    output: { name: OUTPUT, width: 1 },
  }
}

/** Complete binary trees; node n's children are 2n + 1 and 2n + 2. */
function forest(trees: number, depth: number): OnnxGraph {
  const random = seededRandom(9)
  const splits = 2 ** depth - 1
  const nodes = 2 * splits + 1
  const all = Array.from({ length: trees * nodes }, (_, at) => ({ tree: Math.floor(at / nodes), node: at % nodes }))
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
      nodes_featureids: all.map((one) => (isSplit(one) ? random.between(0, WIDTH - 1) : 0)),
      nodes_values: { floats: all.map((one) => (isSplit(one) ? random.next() : 0)) },
      nodes_modes: all.map((one) => (isSplit(one) ? 'BRANCH_LEQ' : 'LEAF')),
      nodes_truenodeids: all.map((one) => (isSplit(one) ? 2 * one.node + 1 : 0)),
      nodes_falsenodeids: all.map((one) => (isSplit(one) ? 2 * one.node + 2 : 0)),
      class_treeids: leaves.map(({ tree }) => tree),
      class_nodeids: leaves.map(({ node }) => node),
      class_ids: leaves.map(() => 0),
      class_weights: { floats: leaves.map(() => (random.next() - 0.5) / 10) },
      classlabels_int64s: [0, 1],
      post_transform: 'LOGISTIC',
    },
  }
  return { nodes: [classifier], weights: [], input: { name: INPUT, width: WIDTH }, output: { name: OUTPUT, width: 2 } }
}

/** [count, WIDTH]: numbers in [0, 1), and ids where the model has them. */
export function rowsFor({ ids }: BenchModel, count: number): Float32Array {
  const random = seededRandom(11)
  return Float32Array.from({ length: count * WIDTH }, (_, at) =>
    at % WIDTH < ids ? random.between(0, VOCABULARY - 1) : random.next(),
  )
}

/** The runtime alone: rows [from, to) of those it was made with, in its own tensors already. */
export interface BareModel {
  run(from: number, to: number): Promise<Float32Array>
  release(): Promise<void>
}

/** With the options that are good for it: one thread, and no arena. */
export async function openBare(bytes: Buffer, model: BenchModel, rows: Float32Array): Promise<BareModel> {
  const session = await InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    enableCpuMemArena: false,
    enableMemPattern: false,
  })
  const { ids } = model
  const dense = WIDTH - ids
  const count = rows.length / WIDTH
  const idRows = BigInt64Array.from({ length: count * ids }, (_, at) =>
    BigInt(rows[Math.floor(at / ids) * WIDTH + (at % ids)] as number),
  )
  const denseRows =
    ids === 0
      ? rows
      : Float32Array.from(
          { length: count * dense },
          (_, at) => rows[Math.floor(at / dense) * WIDTH + ids + (at % dense)] as number,
        )

  return {
    async run(from, to) {
      const numbers = new Tensor('float32', denseRows.subarray(from * dense, to * dense), [to - from, dense])
      const feeds =
        ids === 0
          ? { [INPUT]: numbers }
          : { ids: new Tensor('int64', idRows.subarray(from * ids, to * ids), [to - from, ids]), dense: numbers }
      const answer = await session.run(feeds, [OUTPUT])
      return (answer[OUTPUT] as Tensor).data as Float32Array
    },
    release: () => session.release(),
  }
}

const GOLDEN_ROWS = 3

/** A version folder of the model, with golden rows as the runtime answers them. */
export async function writeBenchModel(model: BenchModel, directory: string): Promise<string> {
  const bytes = onnxModel(model.graph)
  const rows = rowsFor(model, GOLDEN_ROWS)
  const bare = await openBare(bytes, model, rows)
  const outputs = await bare.run(0, GOLDEN_ROWS)
  await bare.release()
  const names = Array.from({ length: WIDTH }, (_, at) => `f${at}`)
  const tensors = [
    { name: 'ids', type: 'int64', features: names.slice(0, model.ids) },
    { name: 'dense', type: 'float32', features: names.slice(model.ids) },
  ]
  const cut = (values: Float32Array, row: number, width: number) => [...values.subarray(row * width, (row + 1) * width)]
  const manifest = {
    name: model.name,
    version: '1',
    file: 'model.onnx',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    task: 'multi-output',
    input: {
      ...(model.ids === 0 ? { tensor: INPUT } : { tensors }),
      features: names.map((name) => ({ name, type: 'float32' })),
      missing: 'refuse',
    },
    output: { tensor: OUTPUT, width: model.outputWidth },
    golden: Array.from({ length: GOLDEN_ROWS }, (_, row) => ({
      features: cut(rows, row, WIDTH),
      outputs: cut(outputs, row, model.outputWidth),
    })),
  }
  const folder = join(directory, model.name)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'model.onnx'), bytes)
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
  return folder
}
