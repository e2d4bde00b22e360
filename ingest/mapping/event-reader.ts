/** How a body spells its events: one JSON object or array of them, a JSON object a line, Avro single-object or container file. */
export type EventFormat = 'json' | 'ndjson' | 'avro' | 'avro-container'

export interface ItemProblem {
  /** Closed list; e.g. `missing_field`, `unknown_field`, `wrong_type`, `out_of_range`, `duplicate_key`, `invalid_json`. */
  readonly code: string
  /** Where in the event, as a JSON Pointer (RFC 6901); '' = the event itself. */
  readonly pointer: string
  readonly detail: string
}

/** An event as it will be in Kafka, or what is wrong with it. */
export type ReadItem =
  | {
      readonly ok: true
      /** Avro with the Confluent wire header. */
      readonly value: Buffer
      /** Null: an event without a key. */
      readonly key: string | null
      readonly id: string
    }
  | { readonly ok: false; readonly problem: ItemProblem }

export interface ReadOptions {
  /**
   * `Idempotency-Key`: becomes the id of a single event, `<key>.<index>` of several. An event that has another id of its own is
   * refused (`idempotency_key_mismatch`). Null = an event without an id gets a random one.
   */
  readonly idempotencyKey: string | null
  /**
   * Of the request, names in lower case: those that the pipeline maps to fields are read. One that is there twice has to be given as
   * two, which Node does in `headersDistinct` alone; its events are refused (`duplicate_header`).
   */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** Most events that a body may have. */
  readonly maxEvents: number
}

export interface ReadBody {
  /** By index. */
  readonly items: readonly ReadItem[]
  /** False for one event that was not in an array, a line or a container. */
  readonly several: boolean
}

/**
 * Reads request bodies as records of one Avro schema, with the pipeline's mapping (rename, constant, drop) applied before.
 * Numbers are exact: what the field's type does not hold is refused and never rounded.
 */
export interface EventReader {
  /**
   * Throws (reject) `invalid_body` when the body is not in that format at all, `too_many_events`, and `too_large` for a container file
   * with a record that would take too long to read.
   */
  read(body: Buffer, format: EventFormat, options: ReadOptions): ReadBody
}
