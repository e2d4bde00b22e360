import { setMaxListeners } from 'node:events'
import type { Clock } from '../../clock.ts'
import { fateOf, retryable } from '../../errors.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { KafkaConfig } from '../kafka-client.ts'
import type { BrokerAddress } from '../protocol/metadata.ts'
import type { KafkaRequest } from '../protocol/request.ts'
import type { Channel } from './connections.ts'
import { openBroker } from './open-broker.ts'
import type { WireConnection } from './wire-connection.ts'

export interface BrokerLinksOptions {
  readonly config: KafkaConfig
  readonly clientId: string
  readonly logger: Logger
  readonly clock: Clock
  readonly requestTimeoutMs: number
  readonly connectTimeoutMs: number
  /** Asks any broker for all addresses and hands them to `learn`. */
  readonly findBrokers: () => Promise<void>
}

/** One connection for each node and channel, and one or more for what any broker answers; made when a request needs it. */
export interface BrokerLinks {
  send<T>(node: number, channel: Channel, request: KafkaRequest<T>): Promise<T>
  sendToAny<T>(request: KafkaRequest<T>): Promise<T>
  learn(broker: BrokerAddress): void
  close(): Promise<void>
}

interface Link {
  readonly ready: Promise<WireConnection>
  connection: WireConnection | null
  /** Monotonic ms at which the broker wants credentials again. */
  expiresAt: number
}

/** A broker that refused a connection is not asked for another one before this, whoever wants it. */
const RECONNECT_PAUSE_MS = 100
/** Of the time for which credentials are good, when the connection is replaced by a new one. */
const SESSION_PART = 0.8
/** In the key of a link, for which what any broker answers would have to wait. */
const WAITING_CHANNEL = /^-?\d+ (group|fetch|produce)\b/

export function createBrokerLinks(options: BrokerLinksOptions): BrokerLinks {
  const { config, clock, logger } = options
  const nodes = new Map<number, BrokerAddress>()
  const links = new Map<string, Link>()
  const failedAt = new Map<string, number>()
  const closing = new AbortController()
  setMaxListeners(0, closing.signal)

  /** Callers that ask at the same time wait for one promise, so what they send keeps its order. */
  function link(key: string, address: () => Promise<Address>): Promise<WireConnection> {
    if (closing.signal.aborted) return Promise.reject(retryable('kafka_closed', 'the connections are closed'))
    const known = links.get(key)
    const fresh = known !== undefined && clock.monotonic() < known.expiresAt
    if (fresh && known.connection?.open !== false) return known.ready
    const made: Link = { ready: connect(), connection: null, expiresAt: Number.POSITIVE_INFINITY }
    links.set(key, made)
    made.ready.catch(forget)
    return made.ready

    async function connect(): Promise<WireConnection> {
      // what was sent before is answered before; also, nothing goes on here before `made` is there
      await known?.connection?.idle()
      known?.connection?.close()
      const { connection, sessionMs } = await open(await address())
      made.connection = connection
      if (sessionMs !== null) made.expiresAt = clock.monotonic() + sessionMs * SESSION_PART
      void connection.closed.then(forget)
      return connection
    }
    function forget(): void {
      if (links.get(key) === made) links.delete(key)
    }
  }

  async function open({ host, port }: Address) {
    const address = `${host}:${port}`
    const pauseMs = (failedAt.get(address) ?? Number.NEGATIVE_INFINITY) + RECONNECT_PAUSE_MS - clock.monotonic()
    if (pauseMs > 0) await clock.sleep(pauseMs, closing.signal)
    try {
      const opened = await openBroker({ ...options, host, port, signal: closing.signal })
      failedAt.delete(address)
      return opened
    } catch (error) {
      failedAt.set(address, clock.monotonic())
      logger.debug({ broker: address, problem: (error as Error).message }, 'no connection to the broker')
      throw error
    }
  }

  async function addressOf(node: number): Promise<Address> {
    const known = nodes.get(node)
    if (known !== undefined && !failedAt.has(`${known.host}:${known.port}`)) return known
    // not known, or not where it was: brokers move
    await options.findBrokers()
    const found = nodes.get(node)
    if (found === undefined) throw retryable('kafka_unavailable', `broker ${node} is not there`)
    return found
  }

  /** Never waits for `findBrokers`, which needs it. */
  function* anyBroker(): Generator<Promise<WireConnection>> {
    for (const [key, { connection }] of [...links]) {
      if (connection?.open && !WAITING_CHANNEL.test(key)) yield Promise.resolve(connection)
    }
    const addresses = new Map<string, Address>()
    for (const address of [...config.brokers.map(addressFrom), ...nodes.values()]) {
      addresses.set(`${address.host}:${address.port}`, address)
    }
    const byFailure = [...addresses].sort(([left], [right]) => (failedAt.get(left) ?? 0) - (failedAt.get(right) ?? 0))
    for (const [key, address] of byFailure) yield link(key, async () => address)
  }

  return {
    async send(node, channel, request) {
      const connection = await link(`${node} ${channel}`, () => addressOf(node))
      return connection.send(request)
    },
    async sendToAny(request) {
      let failure: unknown = retryable('kafka_unavailable', 'no broker is known')
      for (const ready of anyBroker()) {
        try {
          const connection = await ready
          return await connection.send(request)
        } catch (error) {
          if (fateOf(error) !== 'retry') throw error
          failure = error
        }
      }
      throw failure
    },
    learn(broker) {
      nodes.set(broker.node, broker)
    },
    async close() {
      closing.abort()
      const ends = [...links.values()].map(async ({ ready }) => {
        const connection = await ready.catch(() => null)
        connection?.close()
        await connection?.closed
      })
      await Promise.all(ends)
    },
  }
}

type Address = Pick<BrokerAddress, 'host' | 'port'>

function addressFrom(broker: string): Address {
  const colon = broker.lastIndexOf(':')
  // an IPv6 address comes in brackets
  return { host: broker.slice(0, colon).replace(/^\[(.*)\]$/, '$1'), port: Number(broker.slice(colon + 1)) }
}
