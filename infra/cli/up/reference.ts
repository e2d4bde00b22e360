import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { ControlLog } from '../../runtime/control/control-log.ts'
import { MillraceError } from '../../runtime/errors.ts'
import { withControlLog } from '../control-log.ts'
import { loadStageModule } from '../stage-module.ts'

interface ProfileModule {
  acceptBundled(
    control: ControlLog,
    folder: string,
    by: { readonly actor: string; readonly reason: string },
  ): Promise<string | null>
}

const BY = { actor: 'millrace up', reason: 'it lies beside the pipeline, which had none' }

/** Makes the profile beside the pipeline its reference while it has none; answers what is to be said of it, null = nothing. */
export async function bundledReference({ folder }: CompiledPipeline, env: NodeJS.ProcessEnv): Promise<string | null> {
  const { acceptBundled } = await loadStageModule<ProfileModule>('sinks/commands/profile-create')
  try {
    const name = await withControlLog((log) => acceptBundled(log, folder, BY), env)
    return name === null ? null : `✓ reference profile: ${name}`
  } catch (error) {
    // features were changed since: what it serves is fine, there is nothing to compare it with
    if (error instanceof MillraceError && error.code === 'profile_misfit')
      return `no reference profile: ${error.message}`
    throw error
  }
}
