import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../../infra/runtime/telemetry/metrics.ts'
import type { RolloutEntry } from '../../schemas/control/models.ts'

/** What a process says of a model's rollout. Must not throw. */
export interface RolloutInstruments {
  /** What the log says when the process begins; null = nothing. */
  began(rollout: RolloutEntry | null): void
  /** The log says something else. */
  changed(rollout: RolloutEntry): void
}

export function createRolloutInstruments(metrics: Metrics, logger: Logger, model: string): RolloutInstruments {
  const stalled = metrics.gauge(
    'millrace_rollout_stalled',
    '1 = the last that was said of the rollout is that a plan was not loaded everywhere by its deadline: the one before serves on',
    ['model'],
  )
  const show = (rollout: RolloutEntry | null): void => stalled.set(rollout?.step === 'stalled' ? 1 : 0, { model })

  return {
    began: show,
    changed(rollout) {
      show(rollout)
      const { step, lastEpoch, active, proposed, evidence } = rollout
      if (step === 'stalled') {
        logger.warn({ code: 'rollout_stalled', model, epoch: lastEpoch, active, evidence }, 'rollout stalled')
      } else {
        logger.info({ model, step, active, proposed, evidence }, 'rollout changed')
      }
    },
  }
}
