import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { describeError, fatal } from '../../infra/runtime/errors.ts'
import { once } from '../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../infra/runtime/stage-process.ts'
import { stageTopic } from '../../schemas/topics.ts'
import { auditInstruments } from './instruments.ts'
import { createLightAudit } from './light-audit.ts'

/**
 * Audits what sinks have stored, again and again until the stage stops. A check that fails is logged and counted, and the next
 * one looks at the same events: it holds nothing up.
 */
export async function startLightAudit(
  context: StageContext,
  options: { readonly clickhouse: ClickHouseClient; readonly intervalMs: number },
): Promise<void> {
  const { pipeline, admin, log, brokers, clock } = context
  const instruments = auditInstruments(context.metrics, context.logger)
  const predictions = stageTopic(pipeline.name, 'predictions')
  const ids = await once(context, 'topics to audit', async () => {
    const topics = await brokers.topics([pipeline.event.topic, predictions])
    return [pipeline.event.topic, predictions].map((name) => {
      const topic = topics.get(name)
      if (topic === undefined) throw fatal('unknown_topic', `topic ${name} does not exist`)
      return topic.id
    })
  })
  const [generation = '', predictionsGeneration = ''] = ids
  const audit = createLightAudit({
    pipeline: pipeline.name,
    events: { topic: pipeline.event.topic, generation },
    predictionsGeneration,
    admin,
    log,
    clickhouse: options.clickhouse,
  })
  await context.start('audit', async () => {
    const stopping = new AbortController()
    const run = async (): Promise<void> => {
      for (;;) {
        await clock.sleep(options.intervalMs, stopping.signal)
        if (stopping.signal.aborted) return
        try {
          instruments.checked(await audit.check())
        } catch (error) {
          instruments.failed(describeError(error))
        }
      }
    }
    const ended = run()
    return {
      value: null,
      async stop() {
        stopping.abort()
        await ended
      },
    }
  })
}
