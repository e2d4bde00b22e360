import { parseArgs } from 'node:util'
import { startEndpoint } from './server.ts'

// One process owns one data directory. UV_THREADPOOL_SIZE must be in its environment: it is read before any of this runs.
const THREADS_KEPT_FREE = 4

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    port: { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    'max-memory-mb': { type: 'string', default: '4096' },
    'mark-cache-mb': { type: 'string', default: '256' },
    'max-body-mb': { type: 'string', default: '512' },
  },
})
if (values.data === undefined || values.port === undefined) throw new Error('usage: main --data FOLDER --port PORT')

const bytes = (megabytes: string): number => Number(megabytes) * 2 ** 20
const startedAt = performance.now()
const endpoint = await startEndpoint({
  dataDir: values.data,
  host: values.host,
  port: Number(values.port),
  // the variable of the clients; without one, anybody on this machine is `default`, as on a new server: hence loopback only
  password: process.env['CLICKHOUSE_PASSWORD'] ?? '',
  maxMemoryBytes: bytes(values['max-memory-mb']),
  markCacheBytes: bytes(values['mark-cache-mb']),
  maxBodyBytes: bytes(values['max-body-mb']),
  parallel: Math.max(1, Number(process.env['UV_THREADPOOL_SIZE'] ?? 4) - THREADS_KEPT_FREE),
})
const ms = Math.round(performance.now() - startedAt)
process.stdout.write(`ClickHouse ${endpoint.value.version} on ${values.host}:${values.port} after ${ms} ms\n`)

let stopping = false
const stop = (): void => {
  if (stopping) return
  stopping = true
  void endpoint.stop().then(() => process.exit(0))
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)
