import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createOnnxSession } from '../../inference/models/onnx-session.ts'
import { readStructure } from '../../inference/models/probation/onnx-structure.ts'
import { digestOf } from './model-version.ts'
import { addVersion, type Manifest } from './scoring.ts'

const WEIGHTS = 'class_weights'
/** A float of a repeated field that is not packed: its tag, and four bytes. */
const FLOAT_BYTES = 5

/**
 * A version of the sample model whose every score is shifted by `by` in log odds; `model` is its model's name. Answers the
 * version's folder.
 */
export async function addShifted(
  directory: string,
  version: string,
  { model, by }: { readonly model: string; readonly by: number },
): Promise<string> {
  const folder = addVersion(directory, version)
  const file = path.join(folder, 'manifest.json')
  const onnx = shifted(readFileSync(path.join(folder, 'model.onnx')), by)
  const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest
  manifest['name'] = model
  manifest.sha256 = digestOf(onnx)
  await answerGolden(manifest, onnx)
  writeFileSync(file, JSON.stringify(manifest))
  writeFileSync(path.join(folder, 'model.onnx'), onnx)
  return folder
}

/** The weight of every leaf of the first tree is another one: a row comes to one of them. */
function shifted(onnx: Buffer, by: number): Buffer {
  const trees = readStructure(onnx).nodes.find(({ operator }) => operator === 'TreeEnsembleClassifier')
  const treeIds = trees?.attributes.get('class_treeids')?.ints ?? []
  const first = onnx.indexOf(WEIGHTS) + WEIGHTS.length
  const copy = Buffer.from(onnx)
  for (const [leaf, tree] of treeIds.entries()) {
    const at = first + FLOAT_BYTES * leaf + 1
    if (tree === treeIds[0]) copy.writeFloatLE(onnx.readFloatLE(at) + by, at)
  }
  return copy
}

async function answerGolden({ input, output, golden }: Manifest, onnx: Buffer): Promise<void> {
  const width = input.features.length
  const data = Float32Array.from(golden.flatMap(({ features }) => features.map((value) => value ?? Number.NaN)))
  const session = await createOnnxSession(onnx, 'cpu')
  const [answers] = await session.run([{ name: input.tensor, data, shape: [golden.length, width] }], [output.tensor])
  await session.release()
  for (const [row, each] of golden.entries()) {
    each.outputs = Array.from(answers as Float32Array).slice(row * output.width, (row + 1) * output.width)
  }
}
