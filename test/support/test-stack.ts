import { existsSync, readdirSync, rmSync } from 'node:fs'
import path from 'node:path'
import { freePorts } from '../../infra/local/ports.ts'
import { type Stack, startStack } from '../../infra/local/stack.ts'

/** Several pipelines run on one stack, each with a gateway. */
const ANY_PORT = { MILLRACE_GATEWAY_PORT: '0', MILLRACE_ADMIN_PORT: '0', MILLRACE_GATEWAY_DRAIN_MS: '0' }
const RUNS = path.resolve(import.meta.dirname, '../../.millrace/test')

/**
 * A stack of its own: free ports, an empty data folder, deleted when it stops; its logs stay until a later run begins.
 * Never the services that the environment names, because tests stop, fill and break what they run on.
 */
export async function startTestStack(): Promise<{ readonly value: Stack; stop(): Promise<void> }> {
  removeLeftovers()
  const [kafka = 0, controller = 0, registry = 0, redis = 0, clickhouse = 0] = await freePorts(5)
  const home = path.join(RUNS, `${process.pid}-${kafka}`)
  const dataDir = path.join(home, 'data')
  const ports = { kafka, 'kafka-controller': controller, registry, redis, clickhouse }
  const settings = { home, dataDir, logDir: path.join(home, 'logs'), ports, external: {} }
  const stack = await startStack(settings, { onProgress: () => {} })
  return {
    value: { ...stack.value, env: { ...stack.value.env, ...ANY_PORT } },
    async stop() {
      await stack.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

/** Folders of runs of this kind whose process is gone. */
function removeLeftovers(): void {
  if (!existsSync(RUNS)) return
  for (const run of readdirSync(RUNS)) {
    const [, pid] = /^(\d+)-\d+$/.exec(run) ?? []
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(path.join(RUNS, run), { recursive: true, force: true })
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}
