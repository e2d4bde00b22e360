import { createHash } from 'node:crypto'
import { type ChainableCommander, Redis } from 'ioredis'
import { fatal, type MillraceError, retryable } from '../errors.ts'
import type { Logger } from '../telemetry/logger.ts'

export type RedisWrite =
  /** `ttlMs`: it is gone after so long; absent = it stays. */
  | { readonly op: 'set'; readonly key: string; readonly value: Buffer | string; readonly ttlMs?: number }
  | { readonly op: 'delete'; readonly key: string }
  | { readonly op: 'hash-set'; readonly key: string; readonly field: string; readonly value: string }

export interface RedisPublish {
  readonly op: 'publish'
  readonly channel: string
  readonly message: string
}

/**
 * A connection to Redis that comes back by itself. Nothing is queued while it is away: every call then rejects with
 * `redis_unavailable` (retry), at once or within the command timeout. `redis_refused` (crash): wrong user, password or
 * rights. Calls may overlap.
 */
export interface RedisClient {
  /** Values by key, null where there is none, all groups in one round trip. The keys of a group are read atomically. */
  getMany(groups: readonly (readonly string[])[]): Promise<readonly (readonly (Buffer | null)[])[]>
  /** Empty when there is no such key. */
  getHash(key: string): Promise<Readonly<Record<string, string>>>
  /** MULTI … EXEC: all of it or nothing. When it rejects, it may have happened nevertheless. */
  transaction(writes: readonly RedisWrite[]): Promise<void>
  /** All of it in one round trip, in order, each for itself. When it rejects, some of it may have happened. */
  writeMany(writes: readonly (RedisWrite | RedisPublish)[]): Promise<void>
  /** Runs a Lua script atomically; Redis keeps it by its hash. What it returns, as Redis says it. */
  evaluate(script: string, keys: readonly string[], args: readonly (string | number | Buffer)[]): Promise<unknown>
  /**
   * Hears what is published on a channel from now on, over a connection of its own that comes back by itself; what is published
   * while it is away is not heard. Must not throw. Answers how to end it.
   */
  subscribe(channel: string, listener: (message: string) => void): () => void
  ping(): Promise<void>
  /** What Redis tells of itself under a heading, by name. */
  info(section: 'memory'): Promise<ReadonlyMap<string, string>>
  close(): Promise<void>
}

export interface RedisOptions {
  /** `redis://` or `rediss://` (TLS), with user, password and database. */
  readonly url: string
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | undefined
  readonly commandTimeoutMs: number
  readonly logger: Logger
}

const RECONNECT_MAX_MS = 2_000
/** A connection takes longer than a command may. */
const CONNECT_LEAST_MS = 1_000

const digests = new Map<string, string>()

/** By which Redis knows a script; there are few. */
function digestOf(script: string): string {
  const known = digests.get(script)
  if (known !== undefined) return known
  const digest = createHash('sha1').update(script).digest('hex')
  digests.set(script, digest)
  return digest
}

/** Begins to connect. A call made before the first connection is there waits for it, up to the command timeout. */
export function connectRedis(options: RedisOptions): RedisClient {
  const { url, tls, commandTimeoutMs, logger } = options
  const connection = {
    ...(tls === undefined ? {} : { tls }),
    protocol: 2,
    disableClientInfo: true,
    retryStrategy: (attempt: number) => Math.min(RECONNECT_MAX_MS, 50 * 2 ** Math.min(attempt, 10)),
  } as const
  const redis = new Redis(url, {
    ...connection,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: commandTimeoutMs,
    connectTimeout: Math.max(commandTimeoutMs, CONNECT_LEAST_MS),
  })
  let subscriber: Redis | null = null
  const listeners = new Map<string, Set<(message: string) => void>>()
  /** Why there is no connection. */
  let lost: Error | null = null
  redis.on('error', (error: Error) => {
    if (lost === null) logger.warn({ code: 'redis_unavailable', error: error.message }, 'Redis is unreachable')
    lost = error
  })
  redis.on('ready', () => {
    if (lost !== null) logger.info({}, 'Redis is reachable again')
    lost = null
  })

  let opening: Promise<void> | null = firstConnection(redis, commandTimeoutMs).finally(() => {
    opening = null
  })

  async function call<T>(what: string, command: () => Promise<T>): Promise<T> {
    if (opening !== null) await opening
    try {
      return await command()
    } catch (error) {
      throw redisError(lost ?? error, what)
    }
  }

  return {
    getMany: (groups) =>
      call('MGET', async () => {
        const asked = groups.filter((group) => group.length > 0)
        if (asked.length === 0) return groups.map(() => [])
        const pipeline = redis.pipeline()
        for (const group of asked) pipeline.mgetBuffer([...group])
        const answers = (await pipeline.exec()) ?? []
        let next = 0
        return groups.map((group) => {
          if (group.length === 0) return []
          const [error, values] = answers[next++] ?? [new Error('no answer')]
          if (error !== null) throw error
          return values as (Buffer | null)[]
        })
      }),
    getHash: (key) => call('HGETALL', () => redis.hgetall(key)),
    transaction: (writes) =>
      call('EXEC', async () => {
        const multi = redis.multi()
        for (const write of writes) enqueue(multi, write)
        await allDone(multi)
      }),
    writeMany: (writes) =>
      call('a pipeline', async () => {
        const pipeline = redis.pipeline()
        for (const write of writes) enqueue(pipeline, write)
        await allDone(pipeline)
      }),
    evaluate: (script, keys, args) =>
      call('EVALSHA', async () => {
        const sha = digestOf(script)
        try {
          return await redis.evalsha(sha, keys.length, ...keys, ...args)
        } catch (error) {
          if (!(error as Error).message.startsWith('NOSCRIPT')) throw error
          return await redis.eval(script, keys.length, ...keys, ...args)
        }
      }),
    subscribe(channel, listener) {
      if (subscriber === null) {
        subscriber = new Redis(url, { ...connection, maxRetriesPerRequest: null })
        // the other connection says that Redis is away
        subscriber.on('error', () => undefined)
        subscriber.on('message', (from: string, message: string) => {
          for (const hear of listeners.get(from) ?? []) hear(message)
        })
      }
      const own = listeners.get(channel) ?? new Set()
      listeners.set(channel, own.add(listener))
      if (own.size === 1) subscriber.subscribe(channel).catch(() => undefined)
      return () => {
        own.delete(listener)
        if (own.size === 0) subscriber?.unsubscribe(channel).catch(() => undefined)
      }
    },
    ping: () =>
      call('PING', async () => {
        await redis.ping()
      }),
    info: (section) =>
      call('INFO', async () => {
        const lines = (await redis.info(section)).split('\r\n')
        return new Map(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]))
      }),
    async close() {
      redis.disconnect()
      subscriber?.disconnect()
    },
  }
}

function enqueue(commands: ChainableCommander, write: RedisWrite | RedisPublish): void {
  if (write.op === 'set') {
    if (write.ttlMs === undefined) commands.set(write.key, write.value)
    else commands.set(write.key, write.value, 'PX', write.ttlMs)
  } else if (write.op === 'delete') commands.del(write.key)
  else if (write.op === 'publish') commands.publish(write.channel, write.message)
  else commands.hset(write.key, write.field, write.value)
}

async function allDone(commands: ChainableCommander): Promise<void> {
  for (const [error] of (await commands.exec()) ?? [[new Error('it was discarded')]]) {
    if (error !== null) throw error
  }
}

/** Resolves when the first attempt has succeeded or failed, or took too long. */
async function firstConnection(redis: Redis, timeoutMs: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const settle = (): void => {
      clearTimeout(timer)
      redis.off('ready', settle)
      redis.off('close', settle)
      resolve()
    }
    const timer = setTimeout(settle, timeoutMs)
    redis.on('ready', settle)
    redis.on('close', settle)
  })
}

const REFUSED = new Set(['NOAUTH', 'WRONGPASS', 'NOPERM'])
const TEMPORARY = new Set(['LOADING', 'READONLY', 'MASTERDOWN', 'CLUSTERDOWN', 'TRYAGAIN', 'BUSY', 'OOM', 'MISCONF'])

/** Redis puts an error's code before its text; an error of another kind never reached Redis or came back from it. */
function redisError(error: unknown, command: string): MillraceError {
  const { name, message } = error as Error
  if (name === 'ReplyError') {
    const code = /^[A-Z]+/.exec(message)?.[0] ?? ''
    if (REFUSED.has(code)) return fatal('redis_refused', `Redis refused ${command}: ${message}`, error)
    if (!TEMPORARY.has(code)) return fatal('redis_error', `Redis could not carry out ${command}: ${message}`, error)
  }
  return retryable('redis_unavailable', `Redis did not answer ${command}: ${message}`, error)
}
