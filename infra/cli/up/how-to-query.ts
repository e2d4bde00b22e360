import { viewPrefix } from '../../../schemas/clickhouse/pipeline-views.ts'
import type { CompiledPipeline } from '../../../schemas/pipeline/compiled.ts'
import { stageTopic } from '../../../schemas/topics.ts'

/** Commands that work when they are pasted into a shell beside the running stack. */
export function howToQuery(pipeline: CompiledPipeline, env: Readonly<Record<string, string>>): readonly string[] {
  const view = `${viewPrefix(pipeline.name)}_predictions`
  const query = `SELECT event_time, event_id, score FROM ${view} ORDER BY event_time DESC LIMIT 5 FORMAT PrettyCompact`
  const database = process.env['CLICKHOUSE_DATABASE'] ?? 'millrace'
  return [
    '',
    'Query the predictions:',
    `  curl '${env['CLICKHOUSE_URL']}/?database=${database}' --data-binary "${query}"`,
    `Or read the topic ${stageTopic(pipeline.name, 'predictions')} on ${env['KAFKA_BROKERS']}, schemas at ${env['SCHEMA_REGISTRY_URL']}`,
    '',
  ]
}
