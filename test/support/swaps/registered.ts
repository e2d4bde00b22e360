import { rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { push } from '../../../inference/commands/model-push.ts'
import { createDirectoryStore } from '../../../inference/models/store/directory-store.ts'
import { filesOf } from '../../../inference/models/store/fetch-version.ts'
import { commandConnections, logConnections } from '../../../infra/cli/connections.ts'
import { systemClock as clock } from '../../../infra/runtime/clock.ts'
import type { ControlLog } from '../../../infra/runtime/control/control-log.ts'
import { startControlLog } from '../../../infra/runtime/control/start-control-log.ts'
import { createIdempotentWriter } from '../../../infra/runtime/kafka/producer/idempotent-writer.ts'
import type { Scope } from '../../../infra/runtime/lifecycle/scope.ts'
import { silentLogger as logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { ModelEntry } from '../../../schemas/control/models.ts'
import type { ModelManifest } from '../../../schemas/pipeline/manifest.ts'
import type { SwapVersions } from './versions.ts'

export const BY = { actor: 'swaps', reason: 'test' }

export async function openControlLog(scope: Scope, env: Readonly<Record<string, string>>): Promise<ControlLog> {
  const { settings, registry } = commandConnections({ ...process.env, ...env })
  const { connections: brokers, reader: log } = logConnections(settings)
  await scope.start('connections', async () => ({ value: null, stop: () => brokers.close() }))
  const deps = { clock, logger, brokers, log, registry }
  const writer = await scope.start('writer', async () =>
    createIdempotentWriter({ clock, logger, connections: brokers }),
  )
  return await scope.start('control log', () => startControlLog({ ...deps, writer }))
}

/** As `millrace model push`. */
export async function pushVersion(control: ControlLog, pipeline: string, folder: string, store: string): Promise<void> {
  const asItIs = { from: 'version', version: null, task: null, missing: null, golden: null } as const
  const allowed = { controlFlow: false, functions: false }
  await push(control, { source: folder, pipeline, ...asItIs, allowed, ...BY }, { MILLRACE_MODEL_STORE: store })
}

/** All of them, so that only the good ones can be loaded. */
export async function registerVersions(
  control: ControlLog,
  pipeline: string,
  versions: SwapVersions,
  store: string,
): Promise<void> {
  const { good, wrong, damaged } = versions
  for (const { folder } of [...good, damaged]) await pushVersion(control, pipeline, folder, store)
  const blob = path.join(store, damaged.sha256.slice(0, 2), damaged.sha256)
  rmSync(blob)
  writeFileSync(blob, 'nothing of what it was')
  await registerUntried(control, wrong, store)
}

/** As if it had passed its probation somewhere else. */
async function registerUntried(control: ControlLog, manifest: ModelManifest, directory: string): Promise<void> {
  const store = createDirectoryStore(directory)
  for (const file of filesOf(manifest)) await store.put(path.join(manifest.folder, file.path))
  const { name: model, version, sha256: digest, featureSet } = manifest
  const value: ModelEntry = {
    ...{ model, version, digest, featureSet: featureSet.digest, profiles: [], state: 'active' },
    manifest: await store.put(path.join(manifest.folder, 'manifest.json')),
  }
  await control.append({ kind: 'model', name: `${model}/${version}`, basedOn: null, value, ...BY })
}
