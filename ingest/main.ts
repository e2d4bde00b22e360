import { runStage } from '../infra/runtime/stage-process.ts'
import { checkTimes, INGEST } from './config.ts'
import { startGateway } from './start-gateway.ts'
import { startParts } from './start-parts.ts'

await runStage('ingest', INGEST, async (context, own) => {
  checkTimes(own, context.config)
  await startGateway(context, own, await startParts(context, own))
})
