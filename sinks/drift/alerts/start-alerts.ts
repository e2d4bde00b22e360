import type { ClickHouseClient } from '../../../infra/runtime/clickhouse/clickhouse-client.ts'
import { fatal } from '../../../infra/runtime/errors.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import type { DriftPart } from '../drift-part.ts'
import { startAlertLog } from './alert-log.ts'
import { createAlerts } from './alerts.ts'
import { alertInstruments } from './instruments.ts'
import { startWebhook } from './start-webhook.ts'

export interface AlertsOptions {
  readonly clickhouse: ClickHouseClient
  /** Both or none. */
  readonly webhookUrl?: string | undefined
  readonly webhookSecret?: string | undefined
}

/** The part of the watch that judges by the pipeline's rules; besides, in every process, what tells others of alerts. */
export async function startAlerts(context: StageContext, options: AlertsOptions): Promise<DriftPart> {
  const { pipeline, clock } = context
  const { clickhouse, webhookUrl, webhookSecret } = options
  if ((webhookUrl === undefined) !== (webhookSecret === undefined)) {
    throw fatal('invalid_config', 'MILLRACE_WEBHOOK_URL and MILLRACE_WEBHOOK_SECRET are given both or not at all')
  }
  const instruments = alertInstruments(context.metrics, context.logger, pipeline.name)
  const log = await context.start('alerts', () => startAlertLog({ ...context, pipeline: pipeline.name, clickhouse }))
  if (webhookUrl !== undefined && webhookSecret !== undefined) {
    await startWebhook(context, { url: webhookUrl, secret: webhookSecret }, instruments)
  }
  return createAlerts({
    pipeline: pipeline.name,
    monitor: pipeline.monitor,
    ...{ clickhouse, log, clock, instruments },
  })
}
