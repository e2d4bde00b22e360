/** Whether a pipeline has a model that takes its features and gives the output it asks for. */
import path from 'node:path'
import type { CompiledPipeline } from './compiled.ts'
import { explainFeatureSetDifference } from './feature-set.ts'
import { listModelVersions, type ModelManifest, readModelManifest, verifyModelFile } from './manifest.ts'
import { PipelineError, type Problem } from './problems.ts'

/**
 * Problems of the pipeline's models: every manifest and model file must be sound, and at least one version must fit.
 * Empty when all is well. Reads each model file once to verify its digest.
 */
export async function checkModels(pipeline: CompiledPipeline): Promise<readonly Problem[]> {
  const { directory } = pipeline.model
  const folders = listModelVersions(directory)
  if (folders.length === 0) return [{ file: directory, path: '', message: noModel(pipeline) }]
  const problems: Problem[] = []
  const misfits: Problem[] = []
  let fits = false
  for (const folder of folders) {
    try {
      const manifest = readModelManifest(folder)
      const file = path.join(folder, 'manifest.json')
      if (manifest.version !== path.basename(folder)) {
        const message = `version ${manifest.version} is in a folder named ${path.basename(folder)}`
        problems.push({ file, path: 'version', message })
      }
      await verifyModelFile(manifest)
      const misfit = explainMisfit(pipeline, manifest, file)
      misfits.push(...misfit)
      fits ||= misfit.length === 0
    } catch (error) {
      if (!(error instanceof PipelineError)) throw error
      problems.push(...error.problems)
    }
  }
  return fits ? problems : [...problems, ...misfits]
}

/** Why this model cannot score this pipeline's events, a problem each; empty when it can. */
export function explainMisfit(pipeline: CompiledPipeline, manifest: ModelManifest, file: string): readonly Problem[] {
  const { model, featureSet } = pipeline
  const problems: Problem[] = []
  if (manifest.name !== model.name) {
    problems.push({ file, path: 'name', message: `the model is ${manifest.name}, the pipeline uses ${model.name}` })
  }
  for (const message of explainFeatureSetDifference(featureSet.features, manifest.input.features)) {
    problems.push({ file, path: 'input.features', message })
  }
  const { tensor, index } = model.output
  const { tensors } = manifest.output
  const read = tensors.find(({ name }) => name === tensor)
  const place = tensors.length > 1 ? `output.tensors[${tensors.findIndex(({ name }) => name === tensor)}]` : 'output'
  if (read === undefined) {
    const message = `the model's output is ${tensors.map(({ name }) => name).join(', ')}, the pipeline reads ${tensor}`
    problems.push({ file, path: tensors.length > 1 ? 'output.tensors' : 'output.tensor', message })
  } else if (index !== 'max' && index >= read.width) {
    const message = `the pipeline reads output ${index}, the model has ${read.width}, counted from 0`
    problems.push({ file, path: `${place}.width`, message })
  }
  return problems
}

function noModel({ model, featureSet }: CompiledPipeline): string {
  return [
    `there is no version of the model ${model.name} yet. Add one as a folder, ${path.join(model.directory, '1')}, with`,
    'the model file (ONNX) and a manifest.json: name, version, file, sha256, task, input (tensor, features, missing),',
    'output (tensor, width) and golden rows. Its input.features must be, in this order:',
    JSON.stringify(featureSet.features),
  ].join(' ')
}
