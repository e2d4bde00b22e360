/**
 * Keys of the online tables. Everything here is a copy of a table topic and can be rebuilt from it.
 * The braces put a table's keys on one cluster slot.
 *
 *   millrace:{<pipeline>.<table>}:row:<key>     the row's Kafka value (Avro, Confluent wire format)
 *   millrace:{<pipeline>.<table>}:positions     hash, see below
 *   millrace:{<pipeline>.<table>}:ready         set once the topic was read to the end that it had when loading began
 *
 * The positions hash tells which part of the topic is in the rows:
 *
 *   load           "<generation>:<load id>": what was begun last; absent = the data is lost
 *   <partition>    "<generation>:<next offset>:<load id>"; of another load = nothing is known of the partition
 *   end:<partition> offset at which the partition ended when the load began
 *
 * The Kafka key of a table topic's record is the UTF-8 of its key text (below), so that compaction keeps each row's last
 * record and a tombstone says by its key alone which row is deleted.
 */

const base = (pipeline: string, table: string): string => `millrace:{${pipeline}.${table}}`

export function tableRowKeyPrefix(pipeline: string, table: string): string {
  return `${base(pipeline, table)}:row:`
}

export function tablePositionsKey(pipeline: string, table: string): string {
  return `${base(pipeline, table)}:positions`
}

export function tableReadyKey(pipeline: string, table: string): string {
  return `${base(pipeline, table)}:ready`
}

/**
 * A table key's text: its parts in the order of the table's `key` fields, each escaped so that two different keys never
 * give one text. Numbers (timestamps included) are written in decimal.
 */
export function tableKeyText(parts: readonly (string | number | boolean)[]): string {
  return parts.map((part) => String(part).replaceAll('%', '%25').replaceAll('|', '%7C')).join('|')
}

/**
 * What a request with an idempotency key was answered, a copy that saves a second way through Kafka:
 *
 *   millrace:{<pipeline>.requests}:<events | labels>:<tenant>:<SHA-256 of the key, hex>
 */
export function finishedRequestKey(
  pipeline: string,
  what: 'events' | 'labels',
  tenant: string,
  keyDigest: string,
): string {
  return `${base(pipeline, 'requests')}:${what}:${tenant}:${keyDigest}`
}

/**
 * Answers to events, for gateways. A copy for a while: what is not here any more is in ClickHouse. All of a pipeline's keys are on one
 * cluster slot.
 *
 *   millrace:{<pipeline>}:answer:<partition>.<offset>     how the event at these coordinates ended (stored-answer.ts)
 *   millrace:{<pipeline>}:event:<tenant>/<event id>       "<partition>.<offset>" of the event with that id that was answered last; never
 *                                                         one that was left out as another's repetition
 *   millrace:{<pipeline>}:waits:<partition>.<offset>      id of the gateway where a request waits for that answer
 *   millrace:{<pipeline>}:gateway:<gateway id>            channel: coordinates whose answers are there now
 *
 * Nothing is missed between them: a gateway writes `waits` before it reads `answer`, and whoever writes `answer` reads `waits` after
 * it; Redis puts these four in one order, so at least one of the two finds what the other has written.
 */
export function answerKeysPrefix(pipeline: string): string {
  return `millrace:{${pipeline}}:`
}

/** Of an event in its topic, as keys and messages spell them. */
export function coordinatesText(partition: number, offset: number): string {
  return `${partition}.${offset}`
}

export function answerKey(pipeline: string, coordinates: string): string {
  return `${answerKeysPrefix(pipeline)}answer:${coordinates}`
}

export function eventAnswerKey(pipeline: string, tenant: string, eventId: string): string {
  return `${answerKeysPrefix(pipeline)}event:${tenant}/${eventId}`
}

export function waitsKey(pipeline: string, coordinates: string): string {
  return `${answerKeysPrefix(pipeline)}waits:${coordinates}`
}

export function gatewayChannel(pipeline: string, gatewayId: string): string {
  return `${answerKeysPrefix(pipeline)}gateway:${gatewayId}`
}
