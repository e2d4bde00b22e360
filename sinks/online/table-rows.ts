import { isUtf8 } from 'node:buffer'
import type { DeadLetterReason } from '../../schemas/dead-letter-reasons.ts'
import type { CompiledTable } from '../../schemas/pipeline/compiled.ts'
import { tableKeyText } from '../../schemas/redis-keys.ts'

export type TableRecord = Readonly<Record<string, unknown>>

export type TableKey =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly reason: DeadLetterReason; readonly message: string }

/** Key text of a row, which its Kafka key must spell; a tombstone (`record` null) has nothing but its Kafka key. */
export function tableKeyOf(
  { keyFields }: Pick<CompiledTable, 'keyFields'>,
  kafkaKey: Buffer | null,
  record: TableRecord | null,
): TableKey {
  if (kafkaKey === null) return { ok: false, reason: 'missing_key', message: 'the record has no Kafka key' }
  if (!isUtf8(kafkaKey)) return { ok: false, reason: 'table_key_mismatch', message: 'the Kafka key is not UTF-8' }
  const given = kafkaKey.toString()
  if (record === null) return { ok: true, text: given }
  const parts: (string | number | boolean)[] = []
  for (const field of keyFields) {
    const part = record[field]
    if (typeof part !== 'string' && typeof part !== 'number' && typeof part !== 'boolean') {
      return { ok: false, reason: 'missing_key', message: `the key field ${field} is empty` }
    }
    parts.push(part)
  }
  const text = tableKeyText(parts)
  if (text === given) return { ok: true, text }
  const message = `the Kafka key is not the text of ${keyFields.join(', ')}`
  return { ok: false, reason: 'table_key_mismatch', message }
}
