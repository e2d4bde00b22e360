/**
 * Keys of the online tables. Everything here is a copy of a table topic and can be rebuilt from it.
 * The braces put a table's keys on one cluster slot.
 *
 *   millrace:{<pipeline>.<table>}:row:<key>     the row's Kafka value (Avro, Confluent wire format)
 *   millrace:{<pipeline>.<table>}:positions     hash: partition → "<generation>:<next offset>"
 *   millrace:{<pipeline>.<table>}:ready         set once the topic was read to the end that it had when loading began
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
