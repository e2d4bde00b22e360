import { createRequire } from 'node:module'
import kafkajs, { type ISocketFactory, type Kafka, logLevel, type SASLOptions } from 'kafkajs'
import type { Logger } from '../telemetry/logger.ts'
import { nativeSasl, type SaslConfig } from './connections/authenticate.ts'
import { connectSocket, type TlsFiles } from './connections/sockets.ts'

export interface KafkaConfig {
  readonly brokers: readonly string[]
  readonly tls?: TlsFiles | undefined
  readonly sasl?: SaslConfig | undefined
}

/** What the other files of this folder make their sources, writers and admins from; nothing is connected yet. */
export interface KafkaClient {
  readonly native: Kafka
  readonly config: KafkaConfig
  readonly clientId: string
  readonly logger: Logger
}

export function createKafkaClient(config: KafkaConfig, clientId: string, logger: Logger): KafkaClient {
  mendRequestQueue()
  addCodecs()
  process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1'
  return { native: new kafkajs.Kafka(clientOptions(config, clientId, logger)), config, clientId, logger }
}

const LEVELS = { [logLevel.ERROR]: 'warn', [logLevel.WARN]: 'debug' } as const

export function clientOptions(config: KafkaConfig, clientId: string, logger: Logger) {
  return {
    clientId,
    brokers: [...config.brokers],
    connectionTimeout: 3_000,
    requestTimeout: 30_000,
    // what outlives these retries comes back to our own loops, which back off without an end and count it
    retry: { initialRetryTime: 100, maxRetryTime: 2_000, retries: 8 },
    socketFactory: noDelaySockets,
    logLevel: logLevel.WARN,
    logCreator:
      () =>
      ({ level, log }: { level: logLevel; log: { message: string } }): void => {
        const method = level === logLevel.ERROR || level === logLevel.WARN ? LEVELS[level] : 'debug'
        const { message, ...fields } = log
        logger[method]({ kafkajs: fields }, message)
      },
    ...(config.tls === undefined ? {} : { ssl: { ...config.tls } }),
    ...(config.sasl === undefined ? {} : { sasl: nativeSasl(config.sasl) as SASLOptions }),
  }
}

const noDelaySockets: ISocketFactory = ({ host, port, ssl, onConnect }) => connectSocket(host, port, ssl, onConnect)

interface RequestQueue {
  readonly pending: readonly unknown[]
  readonly throttledUntil: number
  throttleCheckTimeoutId: NodeJS.Timeout | null
  checkPendingRequests(): void
}

/**
 * kafkajs 2.2.4 arms a timer on every connection even when no request waits, with a negative delay, a thousand times a
 * second. Here it is armed only for requests that do wait.
 */
function mendRequestQueue(): void {
  const { prototype } = createRequire(import.meta.url)('kafkajs/src/network/requestQueue') as {
    prototype: { scheduleCheckPendingRequests(this: RequestQueue): void }
  }
  prototype.scheduleCheckPendingRequests = function () {
    if (this.throttleCheckTimeoutId !== null || this.pending.length === 0) return
    const delayMs = Math.max(10, this.throttledUntil - Date.now())
    this.throttleCheckTimeoutId = setTimeout(() => {
      this.throttleCheckTimeoutId = null
      this.checkPendingRequests()
    }, delayMs)
  }
}

/** Snappy, LZ4 and zstd, in the numbers of the wire format: kafkajs itself reads gzip alone. */
const ADDED_CODECS = [2, 3, 4]
/** Of one batch, decompressed. */
const MAX_DECOMPRESSED_BYTES = 268_435_456

function addCodecs(): void {
  const { CompressionCodecs } = kafkajs
  for (const number of ADDED_CODECS) {
    Object.assign(CompressionCodecs, {
      [number]: () => ({
        compress: async ({ buffer }: { buffer: Buffer }) => (await codecs()).compress(number, buffer),
        decompress: async (bytes: Buffer) => (await codecs()).decompress(number, bytes, MAX_DECOMPRESSED_BYTES),
      }),
    })
  }
}

/** Loaded when the first compressed batch comes: two of them are native, and npm leaves those out with optional packages. */
function codecs(): Promise<typeof import('./record-batches/codecs/compression.ts')> {
  return import('./record-batches/codecs/compression.ts')
}
