import { readFile } from 'node:fs/promises'
import { fatal } from '../../../infra/runtime/errors.ts'
import type { ReferenceProfile } from '../../../schemas/control/profiles.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { digestOfProfile } from './profile-entries.ts'

/** A profile as it travels with a model: `millrace profile show --json` writes it. */
interface ProfileFile {
  readonly digest: string
  readonly content: ReferenceProfile
}

/** Beside pipeline.ts: what a pipeline is compared with until somebody accepts another profile. */
export const BUNDLED_PROFILE = 'reference.json'

/** Rejects with `reference_unreadable`, `profile_altered` or `profile_misfit` (crash). */
export async function readProfileFile(
  file: string,
  pipeline: Pick<CompiledPipeline, 'featureSet'>,
): Promise<ReferenceProfile> {
  let parsed: ProfileFile | null
  try {
    parsed = JSON.parse(await readFile(file, 'utf8')) as ProfileFile | null
  } catch (error) {
    throw fatal('reference_unreadable', `${file}: ${(error as Error).message}`, error)
  }
  const content = parsed?.content
  if (content === undefined || !Array.isArray(content.subjects)) {
    throw fatal('reference_unreadable', `${file} is JSON, and no profile`)
  }
  const digest = digestOfProfile(content)
  if (digest !== parsed?.digest) {
    throw fatal('profile_altered', `the content of ${file} has digest ${digest}, and says ${String(parsed?.digest)}`)
  }
  if (content.featureSet !== pipeline.featureSet.digest) {
    const features = `of the feature set ${content.featureSet}, the pipeline has ${pipeline.featureSet.digest}`
    throw fatal('profile_misfit', `${file} is a profile ${features}`)
  }
  return content
}
