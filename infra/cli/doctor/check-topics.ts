import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { TopicDeclaration } from '../../../schemas/topics.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import { type Replication, replicationOf, replicationProblem } from '../../runtime/kafka/topic-checks.ts'
import { topicsOf } from '../deployment/declare-topics.ts'
import type { Finding } from './finding.ts'

/** Every topic of a pipeline: that it is there, has its partitions, and keeps what it has acknowledged. */
export async function checkTopics(
  admin: KafkaAdmin,
  pipeline: CompiledPipeline,
  allowSingleReplica: boolean,
): Promise<readonly Finding[]> {
  const declarations = topicsOf(pipeline)
  const names = declarations.map(({ name }) => name)
  const counts = await admin.partitionCounts(names)
  const replication = await replicationOf(admin, names)
  const lanes = counts.get(pipeline.event.topic)

  async function problemsOf(declaration: TopicDeclaration, kept: Replication, count: number): Promise<string[]> {
    const { name, owned, grows } = declaration
    const problems: (string | null)[] = []
    if (grows && lanes !== undefined && count < lanes) {
      const remedy = `run millrace topics grow ${pipeline.folder} --lanes ${lanes}`
      problems.push(`has ${count} partitions, the pipeline has ${lanes} lanes: ${remedy}`)
    }
    const timestamps = (await admin.topicConfig(name, [TIMESTAMPS])).get(TIMESTAMPS)
    if (timestamps !== 'LogAppendTime') problems.push(`${TIMESTAMPS} is ${timestamps}: ${timestampRemedy(owned)}`)
    const problem = replicationProblem(kept, allowSingleReplica)
    problems.push(problem === null ? null : `${problem} (--allow-single-replica accepts a single replica)`)
    return problems.filter((each) => each !== null)
  }

  return await Promise.all(
    declarations.map(async (declaration) => {
      const about = `topic ${declaration.name}`
      const count = counts.get(declaration.name)
      const kept = replication.get(declaration.name)
      if (count === undefined || kept === undefined) {
        return { ok: false, about, detail: 'does not exist: run millrace topics' }
      }
      const problems = await problemsOf(declaration, kept, count)
      return { ok: problems.length === 0, about, detail: problems.join('; ') || `${count} partition(s)` }
    }),
  )
}

const TIMESTAMPS = 'message.timestamp.type'

function timestampRemedy(owned: boolean): string {
  return owned
    ? 'run millrace topics'
    : 'records stamped long ago may be deleted before they are read; its owner should set LogAppendTime'
}
