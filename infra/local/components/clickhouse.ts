import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { type Component, LOOPBACK } from './component.ts'

// twelve statements at a time, and four threads for the file system
const THREADS = '16'
const PROBE_TIMEOUT_MS = 2_000

/** ClickHouse as a library in a process of its own, behind ClickHouse's HTTP interface. */
export const clickhouse: Component = {
  name: 'clickhouse',
  ports: ['clickhouse'],
  address: ({ ports }) => `http://${LOOPBACK}:${ports.clickhouse}`,

  async prepare({ dataDir, ports }) {
    const folder = path.join(dataDir, 'clickhouse')
    mkdirSync(folder, { recursive: true })
    const main = path.join(import.meta.dirname, '../clickhouse', `main${path.extname(import.meta.filename)}`)
    return {
      command: process.execPath,
      args: [main, '--data', folder, '--port', String(ports.clickhouse)],
      env: { UV_THREADPOOL_SIZE: THREADS },
    }
  },

  async probe(settings) {
    const answer = await fetch(`${clickhouse.address(settings)}/ping`, {
      signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
    })
    if (!answer.ok) throw new Error(`ClickHouse answers ${answer.status}`)
    await answer.body?.cancel()
  },
}
