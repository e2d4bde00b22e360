// Generated from schemas/avro/*.avsc by `npm run generate`. Do not edit.

/** A rule that began or ceased to fire. */
export interface Alert {
  /** Pipeline name. */
  readonly pipeline: string
  /** Rule name. */
  readonly rule: string
  /** State after this record. */
  readonly state: 'firing' | 'resolved'
  /** info, warning or critical. */
  readonly severity: string
  /** What happened, with the figures. */
  readonly message: string
  /** Query that shows it. */
  readonly evidence_sql: string
  /** When the state changed. Milliseconds since 1970-01-01 UTC. */
  readonly at: number
}

/** One change of configuration at run time; the topic is the audit trail. */
export interface ControlEntry {
  /** model, rollout, pipeline, tenant, api-key, profile or erasure. */
  readonly kind: string
  /** What the entry is about. */
  readonly name: string
  /** Revision this entry was based on; the first entry on a base wins. */
  readonly base_revision: number
  /** The new state, as JSON. */
  readonly value: string
  /** Who made the change. */
  readonly actor: string
  /** Why. */
  readonly reason: string
  /** When, by the writer's clock. Milliseconds since 1970-01-01 UTC. */
  readonly at: number
  /** Hash of the entry before this one. */
  readonly previous_hash: string
  /** SHA-256 over this entry without its hash. */
  readonly hash: string
}

/** A record that ended without a prediction (or, from sinks, without a row), with everything needed to replay it. */
export interface DeadLetter {
  /** Stage that gave the record up: processors, inference or sinks. */
  readonly stage: string
  /** Pipeline name. */
  readonly pipeline: string
  /** Reason code, from the closed list in the documentation, or the name of the pipeline's own check. */
  readonly reason: string
  /** What the record's end means for the account. */
  readonly kind: 'rejected' | 'filtered' | 'unstored' | 'retention_lost'
  /** What was wrong, naming the field. */
  readonly message: string
  /** Owner of the record; empty when unknown. */
  readonly tenant: string
  /** Null when the record could not be decoded. */
  readonly event_id: string | null
  /** Topic the record was read from. */
  readonly topic: string
  /** Partition the record was read from. */
  readonly partition: number
  /** Topic id (UUID) of that topic. */
  readonly source_generation: string
  /** Offset of the record in that partition. */
  readonly source_offset: number
  /** Topic id (UUID) of the events topic; empty when the record has no origin there. */
  readonly origin_generation: string
  /** Offset of the event in the events topic; -1 when the record has no origin there. */
  readonly origin_offset: number
  /** Registry id in the record's wire format; null when it has none. */
  readonly schema_id: number | null
  /** Original key. */
  readonly key: Buffer | null
  /** Original value; empty when filtered or a tombstone. */
  readonly value: Buffer
  /** Original headers; of a repeated one the last. */
  readonly headers: Readonly<Record<string, Buffer>>
  /** How often the record was tried. */
  readonly attempts: number
  /** When the stage gave the record up. Milliseconds since 1970-01-01 UTC. */
  readonly failed_at: number
  /** Coordinates of the dead letter that this record replays. */
  readonly replay_of: string | null
  /** Size of key, value and headers when they were too large for a letter: they hold only their beginning then, and the whole record is at topic, partition and source_offset as long as that log keeps it. Null = they are complete. */
  readonly original_bytes: number | null
}

/** One event's features, ready for a model. */
export interface FeatureVector {
  /** The id that the event's producer gave it. */
  readonly event_id: string
  /** Owner of the event; never chosen by the event's own producer. */
  readonly tenant: string
  /** Value of the pipeline's segment field, by which drift and quality are split; empty when the pipeline names none. */
  readonly segment: string
  /** When the event happened, by the event's own time field. Milliseconds since 1970-01-01 UTC. */
  readonly event_time: number
  /** When Kafka appended the event to the events topic. Milliseconds since 1970-01-01 UTC. */
  readonly ingested_at: number
  /** Registry id of the schema the event was written with. */
  readonly event_schema_id: number
  /** Topic id (UUID) of the events topic. */
  readonly origin_generation: string
  /** Offset of the event in its partition of the events topic. */
  readonly origin_offset: number
  /** Topic id (UUID) of the log that the writing stage read. */
  readonly source_generation: string
  /** Offset of the record that the writing stage read, in the same partition number. */
  readonly source_offset: number
  /** Digest of the ordered feature names and types (32 hex digits). */
  readonly feature_set: string
  /** Feature values as the model sees them, in feature-set order; NaN = missing. */
  readonly features: readonly number[]
  /** True when a lookup was missing or stale. */
  readonly degraded: boolean
  /** W3C trace context of the event. */
  readonly traceparent: string | null
}

/** Requests of one minute that one gateway process answered to one tenant, by one route and with one status. */
export interface GatewayRequests {
  /** Pipeline name. */
  readonly pipeline: string
  /** Process that reports. */
  readonly instance: string
  /** Numbers the records of an instance: a record that was written twice has the same one. */
  readonly sequence: number
  /** Start of the minute in which the requests were answered, by the gateway's clock. Milliseconds since 1970-01-01 UTC. */
  readonly minute: number
  /** Who asked, as the credential says; empty when nobody was let in. */
  readonly tenant: string
  /** Path of the route as it is declared; none when no route matched. */
  readonly route: string
  /** HTTP method. */
  readonly method: string
  /** HTTP status. */
  readonly status: number
  /** Requests answered. */
  readonly requests: number
  /** Events and labels accepted: they are in Kafka. */
  readonly events: number
  /** Bodies as they came over the wire, bytes. */
  readonly request_bytes: number
  /** Bodies of the answers, bytes. */
  readonly response_bytes: number
  /** Sum of the times from request to answer, ms. */
  readonly took_ms: number
  /** Requests by the time they took: the count at i (from 0) is of those up to 0.25 * 2^(i/2) ms that are not in one before; the last has the others too. */
  readonly latency: readonly number[]
}

/** One event's prediction, with the features it was made from. */
export interface Prediction {
  /** The id that the event's producer gave it. */
  readonly event_id: string
  /** Owner of the event; never chosen by the event's own producer. */
  readonly tenant: string
  /** Value of the pipeline's segment field, by which drift and quality are split; empty when the pipeline names none. */
  readonly segment: string
  /** When the event happened, by the event's own time field. Milliseconds since 1970-01-01 UTC. */
  readonly event_time: number
  /** When Kafka appended the event to the events topic. Milliseconds since 1970-01-01 UTC. */
  readonly ingested_at: number
  /** Registry id of the schema the event was written with. */
  readonly event_schema_id: number
  /** Topic id (UUID) of the events topic. */
  readonly origin_generation: string
  /** Offset of the event in its partition of the events topic. */
  readonly origin_offset: number
  /** Topic id (UUID) of the log that the writing stage read. */
  readonly source_generation: string
  /** Offset of the record that the writing stage read, in the same partition number. */
  readonly source_offset: number
  /** Digest of the ordered feature names and types (32 hex digits). */
  readonly feature_set: string
  /** Feature values as the model sees them, in feature-set order; NaN = missing. */
  readonly features: readonly number[]
  /** True when a lookup was missing or stale. */
  readonly degraded: boolean
  /** W3C trace context of the event. */
  readonly traceparent: string | null
  /** Model name. */
  readonly model: string
  /** Version of the model. */
  readonly model_version: string
  /** SHA-256 of the model file (hex). */
  readonly model_digest: string
  /** Whether downstream acts on this prediction. */
  readonly role: 'primary' | 'canary' | 'shadow'
  /** The output the pipeline selects: a probability or a regression value. */
  readonly score: number
  /** The model's whole output row. */
  readonly outputs: readonly number[]
  /** Name of the most probable class, where the model has named classes. */
  readonly label: string | null
  /** Execution provider that ran the model. */
  readonly provider: 'cpu' | 'cuda'
  /** Rows in the micro-batch that this record was scored in. */
  readonly batch_rows: number
  /** When the model had answered. Milliseconds since 1970-01-01 UTC. */
  readonly scored_at: number
  /** Whether the model answered in time, after the pipeline's deadline, or the pipeline's fallback stands for its answer. */
  readonly answer: 'scored' | 'late' | 'fallback'
}

/** What one stage process did in the interval that ended at `at`. */
export interface StageMetrics {
  /** Pipeline name. */
  readonly pipeline: string
  /** Stage and, for sinks, what it stores: processors, inference, sinks-predictions… */
  readonly stage: string
  /** Process that reports. */
  readonly instance: string
  /** End of the interval. Milliseconds since 1970-01-01 UTC. */
  readonly at: number
  /** Length of the interval in ms. */
  readonly interval_ms: number
  /** Records whose end was decided in the interval. */
  readonly records_in: number
  /** Records written to an output or stored. */
  readonly records_out: number
  /** Records given up. */
  readonly dead_letters: number
  /** Batches handled. */
  readonly batches: number
  /** Batches tried again. */
  readonly retries: number
  /** Time spent in the handler and in writing, ms. */
  readonly busy_ms: number
  /** Most records in one batch. */
  readonly largest_batch: number
  /** Micro-batches released because they had as many rows as they may. */
  readonly released_full: number
  /** Micro-batches released because nothing more was queued. */
  readonly released_drained: number
  /** Micro-batches released because a row could not wait any longer. */
  readonly released_deadline: number
  /** Micro-batches released because the time to wait for more was over. */
  readonly released_linger: number
  /** Longest time that a row waited for its micro-batch, ms. */
  readonly longest_wait_ms: number
  /** Rows of the micro-batches, as a share of those that they could have had. */
  readonly mean_fill: number
  /** Highest rollout epoch whose versions are loaded and warm in this process; -1 when the stage serves no models. */
  readonly ready_epoch: number
}
