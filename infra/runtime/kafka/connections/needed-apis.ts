/** A request that we send, in the version that we send. */
export interface NeededApi {
  readonly name: string
  readonly key: number
  readonly version: number
  /** The oldest Kafka that takes it. */
  readonly since: string
}

/** Every request of protocol/. Admin requests are kafkajs's own matter: it picks a version that the broker takes. */
export const NEEDED_APIS: readonly NeededApi[] = [
  { name: 'Produce', key: 0, version: 8, since: '2.4' },
  { name: 'Fetch', key: 1, version: 11, since: '2.3' },
  { name: 'ListOffsets', key: 2, version: 5, since: '2.2' },
  { name: 'Metadata', key: 3, version: 10, since: '2.8' },
  { name: 'OffsetCommit', key: 8, version: 7, since: '2.3' },
  { name: 'OffsetFetch', key: 9, version: 5, since: '2.1' },
  { name: 'FindCoordinator', key: 10, version: 2, since: '2.0' },
  { name: 'JoinGroup', key: 11, version: 5, since: '2.3' },
  { name: 'Heartbeat', key: 12, version: 3, since: '2.3' },
  { name: 'LeaveGroup', key: 13, version: 3, since: '2.4' },
  { name: 'SyncGroup', key: 14, version: 3, since: '2.3' },
  { name: 'ApiVersions', key: 18, version: 3, since: '2.4' },
  { name: 'InitProducerId', key: 22, version: 1, since: '2.0' },
  { name: 'AddPartitionsToTxn', key: 24, version: 1, since: '2.0' },
  { name: 'EndTxn', key: 26, version: 1, since: '2.0' },
  { name: 'DescribeConfigs', key: 32, version: 1, since: '1.1' },
]

/** `metadata.version` levels by the first release that has them. */
const METADATA_LEVELS: readonly (readonly [level: number, release: string])[] = [
  [4, '3.3'],
  [8, '3.4'],
  [9, '3.5'],
  [12, '3.6'],
  [15, '3.7'],
  [20, '3.8'],
  [21, '3.9'],
  [22, '4.0'],
  [26, '4.1'],
]

/** The highest version of Fetch by release: for clusters that do not tell their metadata.version. */
const FETCH_VERSIONS: readonly (readonly [version: number, release: string])[] = [
  [11, '2.3'],
  [12, '2.7'],
  [13, '3.1'],
  [15, '3.5'],
  [16, '3.7'],
  [17, '3.9'],
]

/** The oldest release that can answer so, e.g. `4.1`; null when nothing tells. */
export function atLeastKafka(metadataVersion: number | null, maxFetch: number | null): string | null {
  const known = (table: readonly (readonly [number, string])[], value: number | null): string | null =>
    value === null ? null : (table.findLast(([from]) => from <= value)?.[1] ?? null)
  return known(METADATA_LEVELS, metadataVersion) ?? known(FETCH_VERSIONS, maxFetch)
}
