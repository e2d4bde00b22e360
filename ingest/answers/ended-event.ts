import type { AvroReader } from '../../infra/runtime/avro/avro-reader.ts'
import type { Prediction } from '../../schemas/generated/records.ts'
import { isStoredPrediction, type StoredRejection } from '../../schemas/stored-answer.ts'
import type { Answer } from './answers.ts'
import { predictionView, type ViewedPrediction } from './prediction-view.ts'

/** How an event ended, wherever that was found, and whose it is. */
export interface EndedEvent {
  /** Topic id of the events topic. */
  readonly generation: string
  readonly offset: number
  readonly tenant: string
  /** Null when the event could not be read. */
  readonly eventId: string | null
  /** Day on which Kafka appended it, epoch ms; null when whoever tells does not know. */
  readonly dayMs: number | null
  /** When it was given up, epoch ms; null for a prediction. */
  readonly failedAt: number | null
  readonly answer: Extract<Answer, { readonly state: 'predicted' | 'rejected' }>
}

const DAY_MS = 86_400_000

/** Null when it is not one to be shown. */
export function predictedEvent(
  pipeline: string,
  partition: number,
  prediction: ViewedPrediction & Pick<Prediction, 'origin_generation'>,
): EndedEvent | null {
  const view = predictionView(pipeline, partition, prediction)
  if (view === null) return null
  return {
    generation: prediction.origin_generation,
    offset: prediction.origin_offset,
    tenant: prediction.tenant,
    eventId: prediction.event_id,
    dayMs: prediction.ingested_at - (prediction.ingested_at % DAY_MS),
    failedAt: null,
    answer: { state: 'predicted', prediction: view },
  }
}

export function rejectedEvent(offset: number, rejection: StoredRejection): EndedEvent {
  const { generation, tenant, event_id: eventId, reason, message, failed_at: failedAt } = rejection
  const answer = { state: 'rejected', reason, message } as const
  return { generation, offset, tenant, eventId, dayMs: null, failedAt, answer }
}

/**
 * What Redis holds for the event at these coordinates (schemas/stored-answer.ts). Null when there is nothing, or nothing that can be
 * understood now: ClickHouse has it, too. Rejects with `registry_unavailable` (retry).
 */
export async function readStoredAnswer(
  pipeline: string,
  reader: AvroReader<Prediction>,
  partition: number,
  offset: number,
  value: Buffer | null,
): Promise<EndedEvent | null> {
  if (value === null) return null
  if (!isStoredPrediction(value)) return rejectedEvent(offset, JSON.parse(value.toString()) as StoredRejection)
  await reader.prepare([value])
  const decoded = reader.decode(value)
  return decoded.ok ? predictedEvent(pipeline, partition, decoded.record) : null
}
