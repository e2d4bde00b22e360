import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { wireReader, wireWriter } from './wire.ts'

/*
 * DescribeConfigs, version 1, of one broker, sent to that broker.
 *
 *   request   resources: ARRAY of { type: INT8 = 4 (broker), name: STRING (node id), config_names: ARRAY of STRING },
 *             include_synonyms: BOOLEAN
 *   response  throttle_time_ms: INT32,
 *             results: ARRAY of { error: INT16, error_message: NULLABLE_STRING, type: INT8, name: STRING,
 *               configs: ARRAY of { name: STRING, value: NULLABLE_STRING, read_only: BOOLEAN, source: INT8,
 *                 sensitive: BOOLEAN, synonyms: ARRAY of { name: STRING, value: NULLABLE_STRING, source: INT8 } } }
 */
const BROKER = 4

export function brokerSettingsRequest(
  node: number,
  names: readonly string[],
): KafkaRequest<{ readonly error: BrokerError | null; readonly settings: ReadonlyMap<string, string | null> }> {
  const writer = wireWriter()
  writer.array(
    [node],
    () =>
      void writer
        .int8(BROKER)
        .string(`${node}`)
        .array(names, (name) => void writer.string(name)),
  )
  return {
    apiKey: 32,
    apiVersion: 1,
    name: 'DescribeConfigs',
    body: writer.boolean(false).end(),
    decode(payload) {
      const reader = wireReader(payload, 'DescribeConfigs')
      const settings = new Map<string, string | null>()
      reader.int32()
      const errors = reader.array(() => {
        const error = brokerError(reader.int16())
        reader.string()
        reader.int8()
        reader.string()
        reader.array(() => {
          const name = reader.string() ?? ''
          settings.set(name, reader.string())
          reader.boolean()
          reader.int8()
          reader.boolean()
          reader.array(() => {
            reader.string()
            reader.string()
            reader.int8()
          })
        })
        return error
      })
      return { error: errors.find((error) => error !== null) ?? null, settings }
    },
  }
}
