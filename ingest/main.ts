import { runStage } from '../infra/runtime/stage-process.ts'
import { INGEST } from './config.ts'
import { startDependencyCheck } from './dependencies.ts'
import { createInstruments } from './instruments.ts'

/** No registry gives out this id: asking for it shows whether the registry answers, and is never cached. */
const UNUSED_SCHEMA_ID = 2_147_483_647

await runStage('ingest', INGEST, async (context, own) => {
  const { pipeline, admin, registry, clock, metrics, logger } = context
  const { topic } = pipeline.event
  const check = await context.start('dependency check', async () =>
    startDependencyCheck({
      dependencies: [
        {
          name: 'events topic',
          async check() {
            const exists = (await admin.partitionCounts([topic])).has(topic)
            return exists ? null : `${topic} does not exist`
          },
        },
        {
          name: 'schema registry',
          async check() {
            await registry.schemaById(UNUSED_SCHEMA_ID)
            return null
          },
        },
      ],
      intervalMs: own.checkIntervalMs,
      clock,
      observer: createInstruments(metrics, logger),
    }),
  )
  context.watch(check)
})
