import path from 'node:path'
import { onTestFinished } from 'vitest'
import { freePorts } from '../../infra/local/ports.ts'
import { eventually } from './eventually.ts'
import { type RunningProcess, spawnNode } from './spawn-process.ts'

/** A gateway as it runs in production: a process of its own. */
export interface GatewayProcess {
  readonly port: number
  readonly url: string
  /** Everything it has printed. */
  output(): string
  signal(name: NodeJS.Signals): void
  readonly exited: RunningProcess['exited']
}

const READY_MS = 150_000
const COMPILE_CACHE = path.resolve(import.meta.dirname, '../../.millrace/compile-cache')

/** Resolves when it is ready. It is ended with the test. */
export async function startGatewayProcess(
  folder: string,
  env: Readonly<Record<string, string>>,
  wantedPort?: number,
): Promise<GatewayProcess> {
  const [free = 0] = wantedPort === undefined ? await freePorts(1) : [wantedPort]
  const process = spawnNode(['ingest/main.ts'], {
    env: {
      // many are started: each would strip the types of every module anew
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      MILLRACE_GATEWAY_DRAIN_MS: '0',
      MILLRACE_INGEST_CHECK_MS: '250',
      MILLRACE_ADMIN_PORT: '0',
      MILLRACE_ALLOW_SINGLE_REPLICA: 'true',
      ...env,
      MILLRACE_PIPELINE: folder,
      MILLRACE_GATEWAY_PORT: String(free),
    },
  })
  let isOver = false
  void process.exited.then(() => {
    isOver = true
  })
  onTestFinished(async () => {
    // one that a test has frozen would hear of nothing else
    process.kill('SIGCONT')
    process.kill('SIGKILL')
    await process.exited
  })
  const url = `http://127.0.0.1:${free}`
  await eventually(
    async () => {
      if (isOver) return
      const { status } = await fetch(`${url}/ready`)
      if (status !== 200) throw new Error(`the gateway is not ready: ${status}`)
    },
    { deadlineMs: READY_MS },
  )
  if (isOver) throw new Error(`the gateway ended:\n${process.output()}`)
  return { port: free, url, output: process.output, signal: (name) => process.kill(name), exited: process.exited }
}
