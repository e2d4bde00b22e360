import type { Prediction } from '../../schemas/generated/records.ts'

/** A prediction of a Friday in March 2013, changed as said. */
export function predictionOf(change: Partial<Prediction> = {}): Prediction {
  return {
    event_id: 'event-1',
    tenant: 'main',
    segment: 'EWR',
    event_time: Date.UTC(2013, 2, 15, 9, 30),
    ingested_at: Date.UTC(2026, 0, 5, 12),
    event_schema_id: 1,
    origin_generation: 'events-id',
    origin_offset: 7,
    source_generation: 'features-id',
    source_offset: 7,
    feature_set: 'set-1',
    features: [1.5, 0],
    degraded: false,
    traceparent: null,
    model: 'delay',
    model_version: '1',
    model_digest: 'd1',
    role: 'primary',
    score: 0.25,
    outputs: [0.75, 0.25],
    label: null,
    provider: 'cpu',
    batch_rows: 1,
    scored_at: Date.UTC(2026, 0, 5, 12, 0, 0, 20),
    answer: 'scored',
    ...change,
  }
}
