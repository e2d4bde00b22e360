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
