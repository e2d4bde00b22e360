import { STAGE } from './config.ts'
import { requireLanes, requireReplication } from './kafka/topic-checks.ts'
import type { StageContext } from './stage-process.ts'

/**
 * Before a stage reads: each partition of the input is there in every output (`lanes_differ`, crash), and all of them keep what
 * they acknowledge (`replication_too_low`, crash).
 */
export async function checkLanes(
  context: Pick<StageContext, 'admin' | 'config' | 'start'>,
  topics: { readonly input: string; readonly outputs: readonly string[] },
): Promise<void> {
  const { admin, config } = context
  const { input, outputs } = topics
  await context.start(`partitions of ${input}`, async () => {
    const growCommand = (lanes: number): string => `millrace topics grow ${config.pipelineFolder} --lanes ${lanes}`
    await requireLanes(admin, { input, outputs, growCommand })
    await requireReplication(admin, [input, ...outputs], {
      allowSingleReplica: config.allowSingleReplica,
      allowedBy: `${STAGE.allowSingleReplica.name}=true`,
    })
    return { value: null, stop: async () => {} }
  })
}
