import { once } from 'node:events'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { ownPorts } from '../support/own-ports.ts'
import { spawnNode } from '../support/spawn-process.ts'
import { uniqueName } from '../support/unique-name.ts'

// as a newcomer runs it, on ports and in a folder of its own
const HOME = path.resolve(import.meta.dirname, '../../.millrace/test', uniqueName('up'))
let ports: readonly number[] = []
let env: NodeJS.ProcessEnv = {}

beforeAll(async () => {
  const own = await ownPorts()
  ports = own.ports
  env = { ...own.env, MILLRACE_DATA: HOME }
})
afterAll(() => rmSync(HOME, { recursive: true, force: true }))

const up = (...args: string[]) => spawnNode(['infra/cli/main.ts', 'up', ...args], { env })

async function listening(): Promise<readonly number[]> {
  const open = await Promise.all(ports.map((port) => accepts(port)))
  return ports.filter((_, at) => open[at])
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const answer = (open: boolean) => () => {
      socket.destroy()
      resolve(open)
    }
    socket.once('connect', answer(true))
    socket.once('error', answer(false))
  })
}

async function nothingLeft(): Promise<void> {
  await eventually(async () => expect(await listening()).toEqual([]), { deadlineMs: 120_000 })
}

async function printed(run: ReturnType<typeof up>, text: RegExp): Promise<void> {
  await eventually(() => expect(run.output()).toMatch(text), { deadlineMs: 240_000 })
}

test('--fresh deletes nothing while another run holds the ports', async () => {
  const data = path.join(HOME, 'data')
  mkdirSync(data, { recursive: true })
  const other = createServer().listen(ports[0], '127.0.0.1')
  await once(other, 'listening')
  try {
    const run = up('--fresh')
    expect(await run.exited, run.output()).toBe(1)
    expect(run.output()).toContain('is taken: set MILLRACE_KAFKA_PORT to another one.')
    expect(existsSync(data)).toBe(true)
  } finally {
    other.close()
  }
})

test('a limited run accounts for every record, prints a summary and exits 0', { timeout: 600_000 }, async () => {
  const run = up('--limit', '3000', '--exit')
  expect(await run.exited, run.output()).toBe(0)
  const output = run.output()
  expect(output).toMatch(/events {10}3000\n/)
  expect(output).toMatch(/predictions {5}3000\n/)
  expect(output).toMatch(/missing {9}0\n/)
  expect(output).toMatch(/duplicates {6}0\n/)
  expect(output).toMatch(/2013-03 +\d+ {3}AUC 0\.9\d+ {2}\(trained on\)/)
  expect(output).toContain('Every record is accounted for.')
  await nothingLeft()
})

test('Ctrl-C stops everything in order, on the data of the run before', { timeout: 600_000 }, async () => {
  const run = up('--rate', '200')
  await printed(run, /predictions \d+\/s.*replay: 2013-/)
  run.kill('SIGINT')
  expect(await run.exited, run.output()).toBe(0)
  await nothingLeft()
})

test('a supervisor that is killed leaves no process behind', { timeout: 600_000 }, async () => {
  const run = up('--fresh', '--rate', '200')
  await printed(run, /predictions \d+\/s/)
  expect(run.output()).toContain(`Deleting all data of earlier runs: ${path.join(HOME, 'data')}`)
  run.kill('SIGKILL')
  expect(await run.exited).toBe('SIGKILL')
  await nothingLeft()
})
