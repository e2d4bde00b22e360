import type { Prediction } from '../../schemas/generated/records.ts'
import { formatRequestId } from '../../schemas/request-id.ts'
import type { PredictionView } from './answers.ts'

/** The fields of a prediction that its view is made from. */
export const VIEWED_FIELDS = [
  'event_id',
  'tenant',
  'event_time',
  'ingested_at',
  'origin_offset',
  'degraded',
  'model',
  'model_version',
  'model_digest',
  'role',
  'score',
  'outputs',
  'label',
  'provider',
  'scored_at',
  'answer',
] as const satisfies readonly (keyof Prediction)[]

export type ViewedPrediction = Pick<Prediction, (typeof VIEWED_FIELDS)[number]>

/** A prediction from that partition of `<p>.predictions`, which is the partition of its event. Null for one of a shadow, or whose times are none. */
export function predictionView(
  pipeline: string,
  partition: number,
  prediction: ViewedPrediction,
): PredictionView | null {
  const { role, ingested_at, event_time, scored_at } = prediction
  if (role === 'shadow' || !(isTime(ingested_at) && isTime(event_time) && isTime(scored_at))) return null
  return {
    request_id: formatRequestId(pipeline, ingested_at, partition, prediction.origin_offset),
    event_id: prediction.event_id,
    event_time: isoTime(event_time),
    model: prediction.model,
    model_version: prediction.model_version,
    model_digest: prediction.model_digest,
    role,
    score: finite(prediction.score),
    outputs: prediction.outputs.map(finite),
    label: prediction.label,
    degraded: prediction.degraded,
    answer: prediction.answer,
    provider: prediction.provider,
    scored_at: isoTime(scored_at),
  }
}

/** JSON has no NaN and no infinity. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

const LAST_TIME = 8.64e15

function isTime(epochMs: number): boolean {
  return Math.abs(epochMs) <= LAST_TIME
}

function isoTime(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
