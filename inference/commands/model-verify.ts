import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { readConfig } from '../../infra/runtime/config.ts'
import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import { fatal } from '../../infra/runtime/errors.ts'
import { knownVersion } from '../models/model-entries.ts'
import type { ProbationLimits, ProbationReport } from '../models/probation/probation.ts'
import { probe } from '../models/probation/probe.ts'
import { readLimits } from '../models/probation/read-limits.ts'
import { MODEL_STORE } from '../models/store/config.ts'
import { fetchVersion } from '../models/store/fetch-version.ts'
import { openModelStore } from '../models/store/open-store.ts'

/**
 * Fetches a registered version from the model store, whatever this machine has of it already, compares it with what the
 * control log says of it, and tries it out again. Rejects with `unknown_version`, `model_refused` and as the store does.
 */
export async function verifyVersion(
  control: ControlLog,
  name: string,
  allowed: ProbationLimits['allowed'],
  env: NodeJS.ProcessEnv,
): Promise<ProbationReport> {
  const { entry } = knownVersion(control, name)
  const store = await openModelStore(readConfig(MODEL_STORE, env))
  const scratch = mkdtempSync(path.join(tmpdir(), 'millrace-verify-'))
  try {
    const manifest = await fetchVersion(store, scratch, entry.manifest)
    const { version, sha256, featureSet } = manifest
    const said = [entry.model, entry.version, entry.digest, entry.featureSet]
    const found = [manifest.name, version, sha256, featureSet.digest]
    if (said.join() !== found.join()) {
      throw fatal('model_refused', `${name}: the control log says ${said.join(' ')}, the store has ${found.join(' ')}`)
    }
    const report = await probe(manifest.folder, readLimits(env, allowed))
    if (report.refusal === null) return report
    const { step, code, message } = report.refusal
    throw fatal('model_refused', `${name} is refused (${step}: ${code}): ${message}`)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
    await store.close()
  }
}
