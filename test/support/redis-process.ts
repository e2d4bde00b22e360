import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { redis } from '../../infra/local/components/redis.ts'
import { freePorts } from '../../infra/local/ports.ts'
import { eventually } from './eventually.ts'
import { type RunningProcess, spawnProgram } from './spawn-process.ts'

/** A Redis that a test may freeze and kill. */
export interface RedisProcess {
  readonly url: string
  freeze(): void
  thaw(): void
  /** Nothing that it held is kept. */
  kill(): Promise<void>
  start(): Promise<void>
}

/** It runs until the test has ended. */
export async function startRedisProcess(): Promise<RedisProcess> {
  const [port = 0] = await freePorts(1)
  const home = mkdtempSync(path.join(tmpdir(), 'millrace-redis-'))
  const ports = { kafka: 0, 'kafka-controller': 0, registry: 0, redis: port, clickhouse: 0 }
  const settings = { home, dataDir: home, logDir: home, ports, external: {} }
  const { command, args } = await redis.prepare(settings)
  let running: RunningProcess | null = null
  const kill = async (): Promise<void> => {
    running?.kill('SIGKILL')
    await running?.exited
    running = null
  }
  const start = async (): Promise<void> => {
    running = spawnProgram(command, [...args, '--appendonly', 'no'])
    // what is asked for last runs first: before the check that nothing is left
    onTestFinished(kill)
    await eventually(() => redis.probe(settings), { deadlineMs: 30_000 })
  }
  onTestFinished(() => rmSync(home, { recursive: true, force: true }))
  await start()
  return {
    url: redis.address(settings),
    freeze: () => running?.kill('SIGSTOP'),
    thaw: () => running?.kill('SIGCONT'),
    kill,
    start,
  }
}
