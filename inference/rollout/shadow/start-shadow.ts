import { once, registerContract } from '../../../infra/runtime/stage-contracts.ts'
import type { StageContext } from '../../../infra/runtime/stage-process.ts'
import { stageTopic } from '../../../schemas/topics.ts'
import type { ShadowTaker } from '../../score-columns.ts'
import { createShadow, type ShadowDeps } from './create-shadow.ts'
import { createShadowInstruments } from './instruments.ts'
import type { ShadowLimits } from './shadow-queue.ts'

/** Seconds of what a lane sends in a burst; memory that a process can always spare. */
const LIMITS: ShadowLimits = { maxRows: 20_000, maxBytes: 33_554_432 }

/**
 * Shadow predictions of a stage, on `<pipeline>.shadow`. To be started after the versions that it holds, so that it stops before
 * them. Nothing makes it fail once it has started.
 */
export async function startShadow(
  context: StageContext,
  versions: Pick<ShadowDeps, 'hold' | 'guards'>,
): Promise<ShadowTaker> {
  const { clock, logger, metrics, pipeline, writer } = context
  const topic = stageTopic(pipeline.name, 'shadow')
  const { schemaId } = await once(context, 'shadow schema', () => registerContract(context, 'prediction', topic))
  return await context.start('shadow', async () =>
    createShadow({
      ...versions,
      ...{ topic, schemaId, writer, clock, logger },
      choice: pipeline.model,
      observer: createShadowInstruments(metrics),
      limits: LIMITS,
    }),
  )
}
