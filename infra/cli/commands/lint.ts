import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { checkModels } from '../../../schemas/pipeline/check-models.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { readGolden } from '../../../schemas/pipeline/golden.ts'
import { loadPipeline } from '../../../schemas/pipeline/load.ts'
import { PipelineError, type Problem } from '../../../schemas/pipeline/problems.ts'

export function register(program: Command): void {
  program
    .command('lint')
    .description('check a pipeline folder as a whole: definition, schemas, models, golden events')
    .argument('<folder>', 'pipeline folder')
    .action(async (folder: string) => {
      const pipeline = await loadPipeline(folder)
      const problems = [...(await checkModels(pipeline)), ...goldenProblems(pipeline)]
      if (problems.length > 0) throw new PipelineError(problems)
      const { name, features, featureSet, model } = pipeline
      console.log(`${name}: ${features.length} features (${featureSet.digest}), model ${model.name}: no problems`)
    })
}

/** Golden events are optional; where there are some, they must be sound. */
function goldenProblems(pipeline: CompiledPipeline): readonly Problem[] {
  if (!existsSync(join(pipeline.folder, 'golden.json'))) return []
  try {
    readGolden(pipeline)
    return []
  } catch (error) {
    if (error instanceof PipelineError) return error.problems
    throw error
  }
}
