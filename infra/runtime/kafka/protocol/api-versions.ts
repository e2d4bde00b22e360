import { type BrokerError, brokerError } from './error-codes.ts'
import type { KafkaRequest } from './request.ts'
import { type WireReader, wireReader, wireWriter } from './wire.ts'

/*
 * ApiVersions, version 3: which versions of each request a broker takes. Works before authentication.
 *
 *   request   tags, client_software_name: COMPACT_STRING, client_software_version: COMPACT_STRING, tags
 *   response  (header without tags) error: INT16,
 *             api_keys: COMPACT_ARRAY of { api_key: INT16, min_version: INT16, max_version: INT16, tags },
 *             throttle_time_ms: INT32,
 *             tags, of which 2 is finalized_features:
 *               COMPACT_ARRAY of { name: COMPACT_STRING, max_version_level: INT16, min_version_level: INT16, tags }
 *
 * A broker that does not know version 3 (Kafka below 2.4) answers UNSUPPORTED_VERSION in the layout of version 0:
 *   error: INT16, api_keys: ARRAY of { api_key: INT16, min_version: INT16, max_version: INT16 }
 * in which Kafka below 2.4 lists ApiVersions alone: it has to be asked again in version 0.
 */
const FINALIZED_FEATURES = 2

export interface ApiRange {
  readonly min: number
  readonly max: number
}

export interface ApiVersions {
  readonly error: BrokerError | null
  /** By API key. */
  readonly apis: ReadonlyMap<number, ApiRange>
  /** `metadata.version` of the cluster, a number that grows with each release; null when the broker does not tell. */
  readonly metadataVersion: number | null
}

export function apiVersionsRequest(software: {
  readonly name: string
  readonly version: string
}): KafkaRequest<ApiVersions> {
  return {
    apiKey: 18,
    apiVersion: 3,
    name: 'ApiVersions',
    body: wireWriter().noTags().compactString(software.name).compactString(software.version).noTags().end(),
    decode(payload) {
      const reader = wireReader(payload, 'ApiVersions')
      const error = brokerError(reader.int16())
      if (error === 'UNSUPPORTED_VERSION') return { error, apis: new Map(), metadataVersion: null }
      const apis = new Map(
        reader.compactArray((): [number, ApiRange] => {
          const entry: [number, ApiRange] = [reader.int16(), { min: reader.int16(), max: reader.int16() }]
          reader.skipTags()
          return entry
        }),
      )
      reader.int32()
      return { error, apis, metadataVersion: readMetadataVersion(reader) }
    },
  }
}

export function oldApiVersionsRequest(): KafkaRequest<ApiVersions> {
  return {
    apiKey: 18,
    apiVersion: 0,
    name: 'ApiVersions',
    body: Buffer.alloc(0),
    decode(payload) {
      const reader = wireReader(payload, 'ApiVersions')
      const error = brokerError(reader.int16())
      const apis = reader.array((): [number, ApiRange] => [
        reader.int16(),
        { min: reader.int16(), max: reader.int16() },
      ])
      return { error, apis: new Map(apis), metadataVersion: null }
    },
  }
}

function readMetadataVersion(reader: WireReader): number | null {
  let level: number | null = null
  reader.tags((tag) => {
    if (tag !== FINALIZED_FEATURES) return
    reader.compactArray(() => {
      const name = reader.compactString()
      const max = reader.int16()
      reader.int16()
      reader.skipTags()
      if (name === 'metadata.version') level = max
    })
  })
  return level
}
