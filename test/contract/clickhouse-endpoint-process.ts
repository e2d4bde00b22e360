import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { freePorts } from '../../infra/local/ports.ts'

export interface EndpointProcess {
  url: string
  spoolFolder(): string
  /** @returns its exit code */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

const MAIN = join(import.meta.dirname, '../../infra/local/clickhouse/main.ts')

/** The endpoint as the local stack runs it, alone, on a free port or the given one. Resolves when it answers. */
export async function startEndpointProcess(dataDir: string, password = '', onPort?: number): Promise<EndpointProcess> {
  const port = onPort ?? (await freePorts(1))[0]
  const child = spawn(process.execPath, [MAIN, '--data', dataDir, '--port', String(port), '--max-body-mb', '64'], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16', CLICKHOUSE_PASSWORD: password },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const exited = once(child, 'exit')
  await Promise.race([
    once(child.stdout, 'data'),
    exited.then(() => Promise.reject(new Error('the endpoint did not start'))),
  ])
  const name = `millrace-clickhouse-${createHash('sha256').update(dataDir).digest('hex').slice(0, 16)}`
  return {
    url: `http://127.0.0.1:${port}`,
    spoolFolder: () => (existsSync(join('/dev/shm', name)) ? join('/dev/shm', name) : join(dataDir, 'spool')),
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal)
      const [code]: (number | null)[] = await exited
      return code ?? null
    },
  }
}
