import { expect, inject, test } from 'vitest'
import { CONNECTIONS, readConfig } from '../../infra/runtime/config.ts'
import { startOpsServer } from '../../infra/runtime/http/ops-server.ts'
import { createPartitionControl } from '../../infra/runtime/lifecycle/partition-control.ts'
import { createMetrics } from '../../infra/runtime/telemetry/metrics.ts'
import { eventually } from '../support/eventually.ts'
import { consume, handOuts, laneSource } from '../support/lane-consumers.ts'
import { copyPipeline, FLIGHTS } from '../support/pipeline-copy.ts'
import { writeRawRecords } from '../support/raw-records.ts'
import { spawnNode } from '../support/spawn-process.ts'

const DEADLINE = { deadlineMs: 120_000 }
const env = () => inject('stack').env

async function millrace(...args: readonly string[]): Promise<{ code: unknown; output: string }> {
  const child = spawnNode(['infra/cli/main.ts', ...args], { env: env() })
  return { code: await child.exited, output: child.output() }
}

test('positions are shown, set while the stage is stopped, and refused while it runs', {
  timeout: 600_000,
}, async () => {
  const { name, folder } = copyPipeline(FLIGHTS)
  const topic = `${name}.events`
  const group = `${name}.processors`
  expect(await millrace('topics', folder, '--partitions', '2', '--allow-single-replica')).toMatchObject({ code: 0 })
  const records = Array.from({ length: 10 }, (_, row) => ({
    partition: row % 2,
    key: 'k',
    value: Buffer.from(`${row}`),
  }))
  await writeRawRecords(env(), topic, records)
  const set = (to: string) =>
    millrace('positions', folder, 'set', '--stage', 'processors', '--partition', '1', '--to', to)

  const ledger = handOuts()
  const settings = { brokers: readConfig(CONNECTIONS, env()).kafkaBrokers, group, topic }
  const running = await consume('a', ledger, settings)
  await eventually(() => expect(ledger.count).toBe(10), DEADLINE)
  const refused = await set('2')
  expect(refused.code).toBe(1)
  expect(refused.output).toContain(`group ${group} has members, which would go on where they are: stop the stage first`)
  await running.stop()

  expect(await set('2')).toMatchObject({ code: 0, output: `group ${group} goes on at ${topic}/1 offset 2\n` })
  const beyond = await set('99')
  expect(beyond.code).toBe(1)
  expect(beyond.output).toContain(`${topic}/1 has offsets 0 to 5, not 99`)
  const shown = await millrace('positions', folder)
  expect(shown.output).toContain(
    `processors  group ${group}  topic ${topic}\n  0  at 5  log 0 to 5  lag 0\n  1  at 2  log 0 to 5  lag 3\n`,
  )
  expect(shown.output).toContain(
    `inference  group ${name}.inference  topic ${name}.features\n  0  no position  log 0 to 0`,
  )

  const opened = await laneSource('b', settings)
  await eventually(() => expect(opened.events).toEqual(expect.arrayContaining(['open 0@5', 'open 1@2'])), DEADLINE)
  await opened.stop()
  for (const [to, offset] of [
    ['latest', 5],
    ['earliest', 0],
    ['2020-01-01T00:00:00Z', 0],
  ] as const) {
    expect((await set(to)).output).toContain(`offset ${offset}`)
  }
})

test('a partition of a running process is paused and resumed through its ops port', async () => {
  const { name, folder } = copyPipeline(FLIGHTS)
  const metrics = createMetrics({ stage: 'test' })
  const partitions = createPartitionControl(metrics)
  const paused = new Set<number>()
  partitions.add(`${name}.events`, {
    pause: (partition) => void paused.add(partition),
    resume: (partition) => void paused.delete(partition),
    paused: () => paused,
  })
  const health = { live: () => null, ready: () => null }
  const server = await startOpsServer({ host: '127.0.0.1', port: 0, health, metrics, partitions })
  try {
    const ops = `http://127.0.0.1:${server.value.port}`
    const tell = (action: string, stage: string) =>
      millrace('positions', folder, action, '--stage', stage, '--partition', '1', '--ops', ops)
    expect(await tell('pause', 'processors')).toEqual({ code: 0, output: `${name}.events/1 is paused\n` })
    expect([...paused]).toEqual([1])
    expect(await tell('resume', 'processors')).toEqual({ code: 0, output: `${name}.events/1 is resumed\n` })
    const other = await tell('pause', 'inference')
    expect([other.code, paused.size]).toEqual([1, 0])
    expect(other.output).toContain(`404 this process does not read ${name}.features`)
  } finally {
    await server.stop()
  }
})

test('what is left out or unknown is said', async () => {
  const { folder } = copyPipeline(FLIGHTS)
  const cases = [
    [['set', '--partition', '0', '--to', '1'], 'set needs --stage or --group'],
    [['set', '--stage', 'inference', '--to', '1'], 'set needs --partition'],
    [['set', '--stage', 'inference', '--partition', '0'], 'set needs --to'],
    [['pause', '--stage', 'inference', '--partition', '0'], 'pause needs --ops'],
    [['show', '--stage', 'nobody'], 'has no such stage; it has processors, inference, sinks.predictions'],
    [['move'], 'must be one of show, set, pause, resume'],
  ] as const
  for (const [args, message] of cases) {
    const { code, output } = await millrace('positions', folder, ...args)
    expect([code, output]).toEqual([1, expect.stringContaining(message)])
  }
})
