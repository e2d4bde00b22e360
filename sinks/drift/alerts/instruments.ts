import type { Logger } from '../../../infra/runtime/telemetry/logger.ts'
import type { Metrics } from '../../../infra/runtime/telemetry/metrics.ts'
import type { AlertsDeps } from './alerts.ts'
import type { WebhookObserver } from './start-webhook.ts'

/** What alerts count and say. */
export function alertInstruments(
  metrics: Metrics,
  logger: Logger,
  pipeline: string,
): AlertsDeps['instruments'] & WebhookObserver {
  const firing = metrics.gauge(
    'millrace_alert_firing',
    '1 while a rule fires, as the process that watches knows it: take the maximum over processes',
    ['pipeline', 'rule', 'severity'],
  )
  const changes = metrics.counter('millrace_alert_changes_total', 'Rules that began or ceased to fire', [
    'rule',
    'state',
  ])
  const webhooks = metrics.counter('millrace_webhook_alerts_total', 'Alerts that the receiver was told of, or not', [
    'outcome',
  ])
  const retries = metrics.counter('millrace_webhook_retries_total', 'Alerts that are sent again', ['code'])
  let waitsFor: string | null = null
  return {
    stands({ rule, severity }, fires) {
      firing.set(fires ? 1 : 0, { pipeline, rule, severity })
    },
    wrote({ rule, state, severity, message }) {
      changes.add(1, { rule, state })
      const fields = { rule, severity, what: message }
      if (state === 'firing') logger.warn(fields, 'an alert fires')
      else logger.info(fields, 'an alert is resolved')
    },
    ended({ rule, state }, outcome) {
      webhooks.add(1, { outcome })
      if (outcome === 'refused' || outcome === 'expired') {
        logger.error({ rule, state, outcome }, 'the receiver of alerts was not told of one')
      } else if (waitsFor !== null) logger.info({}, 'alerts are sent again')
      waitsFor = null
    },
    retrying({ code, message, attempt }) {
      retries.add(1, { code })
      if (waitsFor !== message) logger.warn({ code, message, attempt }, 'alerts wait for their receiver')
      waitsFor = message
    },
  }
}
