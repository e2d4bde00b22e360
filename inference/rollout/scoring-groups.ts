import type { ControlLog, ControlRecord } from '../../infra/runtime/control/control-log.ts'
import { describeError } from '../../infra/runtime/errors.ts'
import type { KafkaAdmin } from '../../infra/runtime/kafka/kafka-admin.ts'
import type { PipelineEntry } from '../../schemas/control/models.ts'
import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import { consumerGroup } from '../../schemas/topics.ts'

/*
 * A model's rollout is one, for every pipeline that names the model: before a plan is activated the members of all their groups
 * are asked. Who they are is in two places: the control log says which pipelines use the model, since each says it of itself
 * before it serves; the brokers say who is in their groups now.
 */

/** Whose members score: of the processors' group only those that are fused. */
const SCORERS = [
  { reader: 'inference', stage: 'inference' },
  { reader: 'processors', stage: 'fused' },
] as const

type Used = Pick<CompiledPipeline, 'name'> & { readonly model: Pick<CompiledPipeline['model'], 'name'> }

/** Has the log say which model the pipeline uses, unless it does. Rejects with `retry` when the log cannot be written. */
export async function registerPipeline(control: ControlLog, { name, model }: Used, actor: string): Promise<void> {
  for (;;) {
    const record = control.latest('pipeline', name)
    if (record !== null && modelOf(record) === model.name) return
    const value: PipelineEntry = { model: model.name }
    const by = { actor, reason: 'the pipeline was started with this model' }
    try {
      await control.append({ kind: 'pipeline', name, basedOn: record?.revision ?? null, value, ...by })
      return
    } catch (error) {
      // another process of the pipeline was faster: what it says is looked at
      if (describeError(error).code !== 'control_conflict') throw error
    }
  }
}

/** Every pipeline that uses the model. What a record says that is not understood may be this model. */
export function pipelinesOf(control: ControlLog, model: string): readonly string[] {
  const used = [...control.all('pipeline').values()].filter((record) => (modelOf(record) ?? model) === model)
  return used.map(({ name }) => name)
}

function modelOf({ value }: ControlRecord): string | null {
  const isEntry = typeof value === 'object' && value !== null && 'model' in value && typeof value.model === 'string'
  return isEntry ? (value as PipelineEntry).model : null
}

/**
 * The processes that score for these pipelines now, each with its group. A group that brokers do not speak of to this process
 * counts as a member that is never ready: what nobody may look at is not taken for empty.
 */
export async function scoringMembers(
  admin: Pick<KafkaAdmin, 'members'>,
  pipelines: Iterable<string>,
): Promise<ReadonlyMap<string, string>> {
  const asked = [...pipelines].flatMap((pipeline) =>
    SCORERS.map(async ({ reader, stage }) => {
      const group = consumerGroup(pipeline, reader)
      const names = await namesIn(admin, group, stage)
      return names.map((name) => [name, group] as const)
    }),
  )
  return new Map((await Promise.all(asked)).flat())
}

async function namesIn(admin: Pick<KafkaAdmin, 'members'>, group: string, stage: string): Promise<readonly string[]> {
  try {
    return (await admin.members(group)).filter((name) => name.startsWith(`${stage}-`))
  } catch (error) {
    const { code } = describeError(error)
    if (code !== 'kafka_refused') throw error
    return [`${group}: ${code}`]
  }
}
