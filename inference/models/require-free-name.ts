import { join } from 'node:path'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { digestOfFile } from '../../schemas/file-digest.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { listModelVersions, type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { readRollout } from '../rollout/read-rollout.ts'
import { versionsOf } from '../rollout/rollout-state.ts'
import { nameOf } from './model-entries.ts'

/**
 * Throws `version_taken` (crash) when a version that is not registered has the name of one that serves from folders of pipelines: of one
 * in this pipeline's folder, unless it is the same, `digest` being that of its manifest; else of one that the rollout speaks of.
 */
export async function requireFreeName(
  control: ControlLog,
  { model }: CompiledPipeline,
  manifest: ModelManifest,
  digest: string,
): Promise<void> {
  const name = nameOf({ model: manifest.name, version: manifest.version })
  for (const folder of listModelVersions(model.directory)) {
    const own = readModelManifest(folder)
    if (own.name !== manifest.name || own.version !== manifest.version) continue
    if ((await digestOfFile(join(folder, 'manifest.json'))).sha256 === digest) return
    throw fatal('version_taken', `${name} is in ${folder} with other content: choose another version`)
  }
  const { active = null, previous = null, proposed = null } = readRollout(control, manifest.name).entry ?? {}
  const plans = [active, previous, proposed?.plan ?? null].filter((plan) => plan !== null)
  if (!plans.some((plan) => versionsOf(plan).includes(manifest.version))) return
  const where = 'in the folder of another pipeline, or of another deployment of this one'
  throw fatal('version_taken', `${name} is in use, not registered but ${where}: choose another version`)
}
