import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { RolloutPlan } from '../../schemas/control/models.ts'
import { type ModelManifest, readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { type KnownVersion, knownVersion, knownVersions } from '../models/model-entries.ts'
import { MODEL_STORE } from '../models/store/config.ts'
import { openModelStore } from '../models/store/open-store.ts'
import { readRollout } from '../rollout/read-rollout.ts'

export interface ListedVersion extends KnownVersion {
  /** What it is in its model's rollout: production, candidate, shadow, previous, proposed. */
  readonly roles: readonly string[]
}

/** Every version that is registered, in order. */
export function listVersions(control: ControlLog, model: string | null): readonly ListedVersion[] {
  return knownVersions(control, model).map((known) => ({ ...known, roles: rolesOf(control, known) }))
}

export interface ShownVersion extends ListedVersion {
  readonly manifest: ModelManifest
  readonly store: string
}

/** One version whole, with its manifest from the model store. Rejects with `unknown_version` and as the store does. */
export async function showVersion(control: ControlLog, name: string, env: NodeJS.ProcessEnv): Promise<ShownVersion> {
  const known = knownVersion(control, name)
  const store = await openModelStore(readConfig(MODEL_STORE, env))
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-show-'))
  try {
    await store.get(known.entry.manifest, path.join(folder, 'manifest.json'))
    const manifest = readModelManifest(folder)
    return { ...known, roles: rolesOf(control, known), manifest, store: store.place }
  } finally {
    rmSync(folder, { recursive: true, force: true })
    await store.close()
  }
}

/** Roles that a registered version has now, or would have after a rollback or an activation. */
export function rolesOf(control: ControlLog, { entry }: Pick<KnownVersion, 'entry'>): readonly string[] {
  const rollout = readRollout(control, entry.model).entry
  if (rollout === null) return []
  const { active, previous, proposed } = rollout
  return [
    ...rolesIn(active, entry.version),
    ...rolesIn(proposed?.plan ?? null, entry.version).map((role) => `proposed ${role}`),
    ...rolesIn(previous, entry.version).map((role) => `previous ${role}`),
  ]
}

function rolesIn(plan: RolloutPlan | null, version: string): readonly string[] {
  if (plan === null || plan.sources?.[version] === 'bundled') return []
  const { production, candidate, shadow } = plan
  return [
    ...(production === version ? ['production'] : []),
    ...(candidate?.version === version ? ['candidate'] : []),
    ...(shadow?.version === version ? ['shadow'] : []),
  ]
}
