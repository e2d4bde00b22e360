import type { ControlLog } from '../../infra/runtime/control/control-log.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'
import type { PredictionView } from '../answers/answers.ts'

/** What answered, for whoever reads headers only; `millrace-newer-version` when another version is in production by now. */
export function createPredictionHeaders(
  control: Pick<ControlLog, 'latest'>,
): (prediction: PredictionView) => Readonly<Record<string, string>> {
  return ({ model, model_version, model_digest, role, degraded }) => {
    const rollout = control.latest('rollout', model)?.value as RolloutEntry | undefined
    const production = rollout?.active?.production
    const isOlder = role === 'primary' && production !== undefined && production !== model_version
    return {
      'millrace-model': model,
      'millrace-model-version': model_version,
      'millrace-model-digest': model_digest,
      'millrace-degraded': String(degraded),
      ...(isOlder ? { 'millrace-newer-version': production } : {}),
    }
  }
}
