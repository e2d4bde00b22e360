import type { StageContext } from '../infra/runtime/stage-process.ts'
import { loadModels, type ModelSet, requireModelFor } from './models/model-set.ts'

/** The models of the pipeline, loaded; one of them takes its feature set. */
export async function startModels(context: StageContext): Promise<ModelSet> {
  const { pipeline, clock, logger } = context
  const models = await context.start('models', async () => {
    const loaded = await loadModels({ pipeline, clock, logger })
    return { value: loaded, stop: () => loaded.release() }
  })
  requireModelFor(pipeline, models)
  return models
}
