import { startControlLog } from '../../infra/runtime/control/start-control-log.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import { type AlertsOptions, startAlerts } from './alerts/start-alerts.ts'
import type { DriftPart } from './drift-part.ts'
import { createFeatureDrift } from './feature-drift.ts'
import { driftInstruments } from './instruments.ts'
import { createProfileKeeper } from './keep-profile.ts'
import { acceptedProfile } from './profiles/profile-entries.ts'
import { createQuality } from './quality/quality.ts'
import { createSeenUntil } from './seen-until.ts'
import { watch } from './watch.ts'

export interface DriftOptions extends AlertsOptions {
  readonly intervalMs: number
  /** True in the one process that watches: the one that stores the predictions of partition 0. */
  isActive(): boolean
}

/**
 * Watches the pipeline's predictions: panes, scores, quality, alerts, in rounds, in one process at a time. What fails is logged, counted and
 * tried again in the next round: it holds up nothing that is stored.
 */
export async function startDrift(context: StageContext, options: DriftOptions): Promise<void> {
  const { pipeline, clock } = context
  const instruments = driftInstruments(context.metrics, context.logger)
  const control = await context.start('control log', () => startControlLog(context))
  context.watch({ ended: control.ended, health: { live: () => null, ready: () => null } })
  const { clickhouse } = options
  const accepted = () => acceptedProfile(control, pipeline.name)
  const { featureSet, monitor } = pipeline
  const parts: readonly DriftPart[] = [
    createProfileKeeper(clickhouse, accepted),
    createFeatureDrift({
      pipeline: pipeline.name,
      featureSet: featureSet.digest,
      ...{ monitor, clickhouse, clock, instruments },
    }),
    createQuality({ pipeline: pipeline.name, monitor, clickhouse, clock }),
    await startAlerts(context, options),
  ]
  await context.start('drift', async () => {
    const stopping = new AbortController()
    const { signal } = stopping
    const ended = watch({
      ...{ parts, instruments, signal, clock, intervalMs: options.intervalMs, isActive: options.isActive },
      profile: () => accepted()?.entry ?? null,
      seenUntil: createSeenUntil(clickhouse, pipeline.name),
    })
    return {
      value: null,
      async stop() {
        stopping.abort()
        await ended
      },
    }
  })
}
