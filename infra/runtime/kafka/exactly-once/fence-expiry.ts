import type { Logger } from '../../telemetry/logger.ts'
import { brokerRefusal } from '../connections/broker-refusals.ts'
import type { KafkaConnections } from '../connections/connections.ts'
import { brokerSettingsRequest } from '../protocol/describe-configs.ts'

/** After either, a fence is forgotten: by the partition's leader, and by the coordinator of the transactional id. */
const SETTINGS = ['producer.id.expiration.ms', 'transactional.id.expiration.ms'] as const
/** What brokers have unless they are set otherwise. */
const SMALLEST_DEFAULT_MS = 86_400_000

/** The shortest time after which one of these brokers forgets a fence, ms. Asked once of each broker. */
export function createFenceExpiry(
  connections: KafkaConnections,
  logger: Logger,
): (nodes: Iterable<number>) => Promise<number> {
  const known = new Map<number, number>()

  async function ask(node: number): Promise<number> {
    const { error, settings } = await connections.send(node, 'control', brokerSettingsRequest(node, SETTINGS))
    if (error === 'CLUSTER_AUTHORIZATION_FAILED') {
      logger.warn({ node, assumedMs: SMALLEST_DEFAULT_MS }, 'no right to read when the broker forgets producers')
      return SMALLEST_DEFAULT_MS
    }
    if (error !== null) throw brokerRefusal(error, `the settings of broker ${node}`)
    const values = SETTINGS.map((name) => Number(settings.get(name) ?? SMALLEST_DEFAULT_MS))
    return Math.min(...values.map((value) => (value > 0 ? value : SMALLEST_DEFAULT_MS)))
  }

  return async (nodes) => {
    const expiries = await Promise.all(
      Array.from(new Set(nodes), async (node) => {
        const expiry = known.get(node) ?? (await ask(node))
        known.set(node, expiry)
        return expiry
      }),
    )
    return Math.min(SMALLEST_DEFAULT_MS, ...expiries)
  }
}
