/** One request of the Kafka protocol: its body, and how to read the answer. Made by one function per API in this folder. */
export interface KafkaRequest<T> {
  readonly apiKey: number
  readonly apiVersion: number
  /** As in the protocol guide, e.g. `Fetch`; names the request in errors. */
  readonly name: string
  /**
   * Without the header, which the connection writes (version 1: no tagged fields). A flexible version begins its body
   * with the tagged fields of header version 2.
   */
  readonly body: Buffer
  /** Sent behind it as they are: what is large is not copied. */
  readonly rest?: readonly Buffer[]
  /** How long the broker may hold the answer back on purpose (a long poll, a join), ms; added to the time allowed. */
  readonly holdMs?: number
  /**
   * Of what follows the correlation id. Error codes are part of the answer, not thrown. Throws `malformed_response`
   * (retry) when the bytes end early.
   */
  decode(payload: Buffer): T
}
