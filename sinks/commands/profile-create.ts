import { existsSync } from 'node:fs'
import path from 'node:path'
import { type ClickHouseClient, createClickHouse } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { CONNECTIONS, clickHouseConfig, readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import type { ProfileEntry, ReferenceProfile } from '../../schemas/control/profiles.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { loadPipeline } from '../../schemas/pipeline/load.ts'
import { NAME, NAME_EXPECTED } from '../../schemas/pipeline/manifest.ts'
import { buildProfile } from '../drift/profiles/build-profile.ts'
import { acceptProfile, type ChangedBy, proposeProfile } from '../drift/profiles/change-profiles.ts'
import { acceptedProfile, profileName } from '../drift/profiles/profile-entries.ts'
import { BUNDLED_PROFILE, readProfileFile } from '../drift/profiles/profile-file.ts'
import { copyFile, formatOf, type ReferenceFile, sourceOf } from '../drift/profiles/reference-file.ts'
import {
  copyPredictions,
  type PredictionWindow,
  REFERENCE_COLUMNS,
  withScratchTable,
} from '../drift/profiles/reference-rows.ts'

export interface CreateOptions extends ChangedBy {
  /** Of the pipeline. */
  readonly folder: string
  /** Null = the next number. */
  readonly name: string | null
  /** A window of predictions, a file of rows, or a profile that was shown as JSON. */
  readonly reference: PredictionWindow | ReferenceFile
}

export interface Proposed {
  readonly entry: ProfileEntry
  /** False: a profile of the pipeline has this content already. */
  readonly isNew: boolean
}

/** All rows of a reference are read and sorted. */
const STATEMENT_TIMEOUT_MS = 600_000

/** Freezes the reference and proposes it. Rejects as `buildProfile`, `copyFile`, `readProfileFile` and `proposeProfile` do. */
export async function createProfile(
  control: ControlLog,
  options: CreateOptions,
  env: NodeJS.ProcessEnv,
): Promise<Proposed> {
  const { folder, name: profile, reference, actor, reason } = options
  if (profile !== null && !NAME.test(profile)) throw fatal('invalid_option', `${profile} is not ${NAME_EXPECTED}`)
  const pipeline = await loadPipeline(folder)
  const content = await contentOf(pipeline, reference, env)
  return await proposeProfile(control, { pipeline: pipeline.name, profile, content }, { actor, reason })
}

async function contentOf(
  pipeline: CompiledPipeline,
  reference: CreateOptions['reference'],
  env: NodeJS.ProcessEnv,
): Promise<ReferenceProfile> {
  if ('file' in reference && (await formatOf(reference.file)) === 'JSON') {
    return await readProfileFile(reference.file, pipeline)
  }
  const clickhouse = createClickHouse(clickHouseConfig(readConfig(CONNECTIONS, env), STATEMENT_TIMEOUT_MS))
  try {
    return await freeze(clickhouse, pipeline, reference)
  } finally {
    await clickhouse.close()
  }
}

function freeze(
  clickhouse: ClickHouseClient,
  pipeline: CompiledPipeline,
  reference: CreateOptions['reference'],
): Promise<ReferenceProfile> {
  return withScratchTable(clickhouse, REFERENCE_COLUMNS, async (table) => {
    if ('file' in reference) {
      const rows = await copyFile(clickhouse, pipeline.features, reference, table)
      return await buildProfile(clickhouse, pipeline, rows, await sourceOf(reference.file))
    }
    const rows = await copyPredictions(clickhouse, pipeline, reference, table)
    return await buildProfile(clickhouse, pipeline, rows, { kind: 'predictions', ...reference })
  })
}

/**
 * Proposes and accepts the profile that lies beside the pipeline, when nothing was ever accepted. Answers its name; null when there is
 * nothing to do. Rejects as `readProfileFile` does.
 */
export async function acceptBundled(control: ControlLog, folder: string, by: ChangedBy): Promise<string | null> {
  const file = path.join(folder, BUNDLED_PROFILE)
  if (!existsSync(file)) return null
  const pipeline = await loadPipeline(folder)
  if (acceptedProfile(control, pipeline.name) !== null) return null
  const content = await readProfileFile(file, pipeline)
  const { entry } = await proposeProfile(control, { pipeline: pipeline.name, profile: null, content }, by)
  await acceptProfile(control, profileName(entry), by)
  return profileName(entry)
}
