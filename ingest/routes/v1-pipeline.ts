import type { CompiledPipeline } from '../../schemas/pipeline/compiled.ts'
import type { Gateway } from '../http/request.ts'
import { CREDENTIAL_PROBLEMS, PipelineInfo, PipelineParams, problems } from '../http/schemas.ts'
import { ownPipeline } from './own-pipeline.ts'

/** `GET /v1/pipelines/{pipeline}`: what events and labels look like, and what answers them. */
export function v1Pipeline({ pipeline }: { readonly pipeline: CompiledPipeline }): (app: Gateway) => void {
  const { event, label, model } = pipeline
  const info: PipelineInfo = {
    name: pipeline.name,
    event: { id: event.idField, key: event.keyField, time: event.timeField, schema: event.schema },
    label: label === null ? null : { id: label.idField, schema: label.schema },
    model: { name: model.name, alias: model.alias },
    feature_set: pipeline.featureSet.digest,
    deadline_ms: model.deadlineMs,
    dedupe_window: pipeline.dedupe?.window ?? null,
  }
  return (app) => {
    app.get(
      '/v1/pipelines/:pipeline',
      {
        config: { scope: 'read' },
        onRequest: ownPipeline(pipeline),
        schema: {
          operationId: 'getPipeline',
          summary: 'What the pipeline takes and answers',
          tags: ['pipelines'],
          params: PipelineParams,
          response: { 200: PipelineInfo, ...CREDENTIAL_PROBLEMS, ...problems(400, 404) },
        },
      },
      async () => info,
    )
  }
}
