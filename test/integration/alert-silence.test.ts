import { expect, inject, test } from 'vitest'
import { systemClock } from '../../infra/runtime/clock.ts'
import type { Alert } from '../../schemas/generated/records.ts'
import { ALERTS_TOPIC, consumerGroup } from '../../schemas/topics.ts'
import { startAlertLog } from '../../sinks/drift/alerts/alert-log.ts'
import { startWebhook } from '../../sinks/drift/alerts/start-webhook.ts'
import { eventually } from '../support/eventually.ts'
import { copyPipeline, ORDERS } from '../support/pipeline-copy.ts'
import { runPipeline } from '../support/running-pipeline.ts'
import { stageContext } from '../support/stage-context.ts'
import { webhookReceiver } from '../support/webhook-receiver.ts'
import { writtenAlerts } from '../support/written-alerts.ts'

// Alerts that are written in the silence of their rules, on a real broker: what the receiver hears when it is over.

const { env } = inject('stack')
const DEADLINE = { deadlineMs: 60_000 }
const MINUTE = 60_000
const WELL = { pane: '5m', window: '1h' }

const timeOfDay = (epochMs: number): string => new Date(epochMs).toISOString().slice(11, 16)

test('what was silenced and still stands is sent once, when the silence is over', { timeout: 180_000 }, async () => {
  const began = Date.now()
  const silence = { from: timeOfDay(began - 10 * MINUTE), to: timeOfDay(began + 30 * MINUTE) }
  const quiet = { quality: { metric: 'accuracy', below: 0.5 }, silence }
  const alerts = {
    ...{ stays: quiet, passes: quiet, ends: quiet, crashes: quiet, expires: quiet },
    loud: { quality: { metric: 'accuracy', below: 0.5 } },
  }
  const { name, folder } = copyPipeline(ORDERS, (source) =>
    source.replace(/\}\)\s*$/, `monitor: ${JSON.stringify({ ...WELL, alerts })},\n})\n`),
  )
  const run = await runPipeline(folder, env, { partitions: 1, start: false })
  const receiver = await webhookReceiver()
  const outcomes: string[] = []
  // as if the silence were over: records are stamped by the broker's clock
  let later = 0
  const clock = { ...systemClock, now: () => Date.now() + later }

  async function startSender() {
    const { context, stop } = await stageContext('sinks', folder, { ...env, MILLRACE_COMMIT_INTERVAL_MS: '50' }, clock)
    await startWebhook(
      context,
      { url: receiver.url, secret: 'secret' },
      {
        ended: ({ rule, state }, outcome) => outcomes.push(`${rule} ${state} ${outcome}`),
        retrying: () => {},
      },
    )
    return { context, stop }
  }
  const first = await startSender()
  const writing = await stageContext('alerts', folder, env)
  const log = await writing.context.start('alerts', () =>
    startAlertLog({ ...writing.context, pipeline: name, clickhouse: { rows: async () => [] } }),
  )
  let at = 0
  async function write(...changes: readonly string[]): Promise<void> {
    const records = changes.map((change): Alert => {
      const [rule = '', state = ''] = change.split(' ')
      const said = { severity: 'warning', message: change, evidence_sql: '' }
      return { pipeline: name, rule, state: state === 'firing' ? 'firing' : 'resolved', ...said, at: at++ }
    })
    await log.append(async () => records, AbortSignal.timeout(30_000))
  }
  const told = () => receiver.received.map(({ body }) => JSON.parse(body).message as string)
  const hears = (...messages: readonly string[]) => eventually(async () => expect(told()).toEqual(messages), DEADLINE)
  const hasSaid = (wanted: readonly string[]) => eventually(() => expect(outcomes).toEqual(wanted), DEADLINE)
  const committed = () => run.admin.committed(consumerGroup(name, 'sinks.webhook'), ALERTS_TOPIC)
  await eventually(async () => expect((await committed()).get(0)).toBeTypeOf('number'), DEADLINE)

  // one that nobody silences is told at once, whatever is held before it
  await write('stays firing', 'passes firing', 'ends resolved', 'loud firing')
  await hears('loud firing')
  await write('passes resolved', 'loud resolved')
  await hears('loud firing', 'loud resolved')
  await hasSaid(['loud firing sent', 'passes firing silent', 'passes resolved silent', 'loud resolved sent'])

  // whoever takes over knows what is held, though the position is behind it; and reads all that there is before it speaks
  await write('crashes firing', 'loud firing')
  await hears('loud firing', 'loud resolved', 'loud firing')
  await eventually(() => expect(outcomes).toHaveLength(5), DEADLINE)
  const { end } = await writing.context.log.range(ALERTS_TOPIC, 0)
  await eventually(async () => expect((await committed()).get(0)).toBeGreaterThanOrEqual(end), DEADLINE)
  await first.stop()
  await write('expires firing')
  await write('expires resolved', 'crashes resolved', 'crashes firing')
  later = 40 * MINUTE
  const second = await startSender()
  const heard = [
    ...['loud firing', 'loud resolved', 'loud firing'],
    ...['stays firing', 'ends resolved', 'crashes firing'],
  ]
  await hears(...heard)
  await eventually(() => expect(outcomes).toContain('crashes firing sent'), DEADLINE)

  // once: neither the next one nor who starts anew says it again
  await second.stop()
  await startSender()
  await write('loud resolved')
  await hears(...heard, 'loud resolved')
  const ids = receiver.received.map(({ headers }) => headers['millrace-webhook-id'])
  expect(new Set(ids).size).toBe(ids.length)
  expect(outcomes.filter((outcome) => outcome.startsWith('stays'))).toEqual(['stays firing sent'])
  expect(outcomes.filter((outcome) => outcome.startsWith('expires')).toSorted()).toEqual([
    'expires firing silent',
    'expires resolved silent',
  ])
  // one record of each change, silent or not
  const written = await writtenAlerts(writing.context.log, ALERTS_TOPIC, name)
  expect(written.map(({ message }) => message)).toHaveLength(at)
})
