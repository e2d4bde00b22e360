import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import type { KafkaAdmin } from '../../runtime/kafka/kafka-admin.ts'
import type { KafkaClient } from '../../runtime/kafka/kafka-client.ts'
import { fetchTopicIds } from '../../runtime/kafka/topic-ids.ts'
import { endOf, type RunMarks } from './accounting.ts'

/** Notes where the topics end now, so that a run can be accounted for by itself on topics that hold earlier ones. */
export async function markRun(pipeline: CompiledPipeline, kafka: KafkaClient, admin: KafkaAdmin): Promise<RunMarks> {
  const { event, label } = pipeline
  const ids = await fetchTopicIds(kafka, label === null ? [event.topic] : [event.topic, label.topic])
  return {
    events: await endOf(admin, event.topic),
    labels: label === null ? null : await endOf(admin, label.topic),
    eventsGeneration: ids.get(event.topic) ?? '',
    labelsGeneration: label === null ? null : (ids.get(label.topic) ?? ''),
  }
}
