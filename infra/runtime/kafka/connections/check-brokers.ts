import { fatal, fateOf } from '../../errors.ts'
import { type ApiRange, type ApiVersions, apiVersionsRequest, oldApiVersionsRequest } from '../protocol/api-versions.ts'
import { metadataRequest } from '../protocol/metadata.ts'
import type { KafkaConnections } from './connections.ts'
import { atLeastKafka, NEEDED_APIS } from './needed-apis.ts'
import { SOFTWARE } from './open-broker.ts'

export interface BrokerCheck {
  /** That answered. */
  readonly brokers: number
  /** What the answers tell of the oldest of them, e.g. `Kafka 4.1 or newer`. */
  readonly version: string
}

/**
 * Asks each broker what it takes. Rejects with `kafka_too_old` or `kafka_too_new` (crash), naming the API, what we need and what the
 * broker offers; `kafka_unavailable` (retry) when none answers.
 */
export async function checkBrokers(connections: KafkaConnections): Promise<BrokerCheck> {
  // before anything that an old broker would answer by closing the connection
  const first = await connections.sendToAny(apiVersionsRequest(SOFTWARE))
  requireApis('a broker', first.error === null ? first : await connections.sendToAny(oldApiVersionsRequest()))

  const { brokers } = await connections.sendToAny(metadataRequest([]))
  const asked = await Promise.allSettled(
    brokers.map(async ({ node, host, port }) => {
      const versions = await connections.send(node, 'control', apiVersionsRequest(SOFTWARE))
      requireApis(`broker ${node} (${host}:${port})`, versions)
      return versions
    }),
  )
  const answers: ApiVersions[] = []
  let away: unknown = null
  for (const answer of asked) {
    if (answer.status === 'fulfilled') answers.push(answer.value)
    else if (fateOf(answer.reason) === 'retry') away = answer.reason
    else throw answer.reason
  }
  if (answers.length === 0 && away !== null) throw away
  return { brokers: answers.length, version: describe(answers) }
}

function requireApis(broker: string, { apis }: ApiVersions): void {
  const tooOld = NEEDED_APIS.filter(({ key, version }) => (apis.get(key)?.max ?? -1) < version)
  // what came last into Kafka says most
  const [worst] = tooOld.sort((left, right) => compareReleases(right.since, left.since))
  if (worst !== undefined) {
    const { name, version, since, key } = worst
    const what = `${name} version ${version}, it takes ${rangeOf(apis.get(key))}`
    throw fatal('kafka_too_old', `${broker} is too old: we send ${what}; Kafka ${since} is the oldest that has it`)
  }
  const gone = NEEDED_APIS.find(({ key, version }) => (apis.get(key)?.min ?? 0) > version)
  if (gone !== undefined) {
    const { name, version, key } = gone
    throw fatal(
      'kafka_too_new',
      `${broker} is too new: we send ${name} version ${version}, it takes ${rangeOf(apis.get(key))}`,
    )
  }
}

function rangeOf(offered: ApiRange | undefined): string {
  if (offered === undefined) return 'none'
  return offered.min === offered.max ? `${offered.min}` : `${offered.min} to ${offered.max}`
}

function describe(answers: readonly ApiVersions[]): string {
  const releases = answers.map(({ apis, metadataVersion }) => atLeastKafka(metadataVersion, apis.get(1)?.max ?? null))
  const known = releases.filter((release) => release !== null).sort(compareReleases)
  return known[0] === undefined ? 'Kafka of an unknown version' : `Kafka ${known[0]} or newer`
}

function compareReleases(left: string, right: string): number {
  return left.localeCompare(right, 'en', { numeric: true })
}
