import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { openModelSession } from '../../../inference/models/model-session.ts'
import { onnxModel, type Weights } from '../../../infra/bench/hop/onnx.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { type ModelManifest, readModelManifest } from '../../../schemas/pipeline/manifest.ts'
import type { SeededRandom } from '../seeded-random.ts'

/** Version folders of a pipeline's model. */
export interface SwapVersions {
  /** In the order in which they serve, again and again; each answers otherwise than those before and behind it. */
  readonly good: readonly ModelManifest[]
  /** Their golden row is not what they answer. */
  readonly wrong: ModelManifest
  readonly refused: ModelManifest
  /** Sound, and to be damaged where it is stored. */
  readonly damaged: ModelManifest
}

const CLASSES = 2
/** Floats beside the weights: versions that are not in use have to make room. */
const PADDING = 900_000

/** The sample model and perceptrons in turn. The pipeline has to be the sample, or a copy of it. */
export async function writeVersions(
  pipeline: CompiledPipeline,
  directory: string,
  count: number,
  random: SeededRandom,
): Promise<SwapVersions> {
  const good: ModelManifest[] = []
  for (let at = 0; at < count; at++) {
    const folder = path.join(directory, `v${at}`)
    good.push(at % 2 === 0 ? copySample(pipeline, folder) : await writePerceptron(pipeline, folder, random))
  }
  return {
    good,
    wrong: await writePerceptron(pipeline, path.join(directory, 'wrong'), random, { golden: 'wrong' }),
    refused: await writePerceptron(pipeline, path.join(directory, 'refused'), random, { golden: 'wrong' }),
    damaged: await writePerceptron(pipeline, path.join(directory, 'damaged'), random),
  }
}

function copySample(pipeline: CompiledPipeline, folder: string): ModelManifest {
  const sample = path.join(pipeline.model.directory, '1')
  const manifest = JSON.parse(readFileSync(path.join(sample, 'manifest.json'), 'utf8')) as Record<string, unknown>
  const model = readFileSync(path.join(sample, 'model.onnx'))
  return write(folder, model, { ...manifest, version: path.basename(folder) })
}

/** Features that are missing are 0; two layers. */
async function writePerceptron(
  pipeline: CompiledPipeline,
  folder: string,
  random: SeededRandom,
  { golden }: { readonly golden: 'right' | 'wrong' } = { golden: 'right' },
): Promise<ModelManifest> {
  const width = pipeline.features.length
  const dense = (name: string, from: number, to: number): Weights => ({
    name,
    shape: [from, to],
    values: Float32Array.from({ length: from * to }, () => 2 * random.next() - 1),
  })
  const model = onnxModel({
    nodes: [
      { operator: 'IsNaN', inputs: ['features'], outputs: ['missing'] },
      { operator: 'Where', inputs: ['missing', 'zero', 'features'], outputs: ['known'] },
      { operator: 'Mul', inputs: ['known', 'scale'], outputs: ['scaled'] },
      { operator: 'MatMul', inputs: ['scaled', 'w1'], outputs: ['sum1'] },
      { operator: 'Relu', inputs: ['sum1'], outputs: ['layer1'] },
      { operator: 'MatMul', inputs: ['layer1', 'w2'], outputs: ['sum2'] },
      { operator: 'Gather', inputs: ['padding', 'first'], outputs: ['nothing'] },
      { operator: 'Add', inputs: ['sum2', 'nothing'], outputs: ['logits'] },
      { operator: 'Softmax', inputs: ['logits'], outputs: ['probabilities'], attributes: { axis: 1 } },
    ],
    weights: [
      { name: 'zero', shape: [1], values: new Float32Array(1) },
      { name: 'scale', shape: [1], values: Float32Array.of(0.001) },
      dense('w1', width, 64),
      dense('w2', 64, CLASSES),
      { name: 'padding', shape: [PADDING], values: new Float32Array(PADDING) },
      { name: 'first', shape: [1], values: BigInt64Array.of(0n) },
    ],
    input: { name: 'features', width },
    output: { name: 'probabilities', width: CLASSES },
  })
  const features = Array.from({ length: width }, () => random.between(0, 100))
  const manifest = {
    name: pipeline.model.name,
    version: path.basename(folder),
    file: 'model.onnx',
    task: 'binary',
    input: { tensor: 'features', features: pipeline.featureSet.features, missing: 'nan' },
    output: { tensor: 'probabilities', width: CLASSES, range: [0, 1] },
  }
  const lenient = write(folder, model, { ...manifest, tolerance: 1, golden: [{ features, outputs: [0.5, 0.5] }] })
  const session = await openModelSession(lenient)
  const [first = 0, second = 0] = await session.run(Float32Array.from(features))
  await session.release()
  return write(folder, model, {
    ...manifest,
    golden: [{ features, outputs: golden === 'right' ? [first, second] : [second, first] }],
  })
}

function write(folder: string, model: Buffer, manifest: Readonly<Record<string, unknown>>): ModelManifest {
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'model.onnx'), model)
  const sha256 = createHash('sha256').update(model).digest('hex')
  writeFileSync(path.join(folder, 'manifest.json'), JSON.stringify({ ...manifest, sha256 }))
  return readModelManifest(folder)
}
