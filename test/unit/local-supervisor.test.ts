import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { createSupervisor, type ProcessSpec, type Supervisor } from '../../infra/local/supervisor.ts'
import { eventually } from '../support/eventually.ts'

const SUPERVISOR = join(import.meta.dirname, '../../infra/local/supervisor.ts')
const OPTIONS = { backoff: { baseMs: 50, maxMs: 400 }, healthyAfterMs: 300, stopWithinMs: 700 }
const SOON = { deadlineMs: 30_000 }

let folder: string
let supervisor: Supervisor

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-supervisor-'))
  supervisor = createSupervisor(OPTIONS)
})

afterEach(async () => {
  await supervisor.stop()
  await rm(folder, { recursive: true, force: true })
})

const journal = async (): Promise<string[]> => (await readFile(join(folder, 'journal'), 'utf8')).trim().split('\n')

/** A process that runs `script`, with `write(line)` for the journal that all of them share. */
function program(name: string, script: string, more: Partial<ProcessSpec> = {}): ProcessSpec {
  const write = `const write = (line) => require('fs').appendFileSync(${JSON.stringify(join(folder, 'journal'))}, line + '\\n');`
  const logFile = join(folder, `${name}.log`)
  return { name, command: process.execPath, args: ['-e', `${write}${script}`], logFile, restart: 'always', ...more }
}

const LIVES = 'setInterval(() => {}, 1000);'
const onTerm = (action: string): string => `process.on('SIGTERM', () => { ${action} }); ${LIVES}`

function alive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

test('a process is starting, then running, then stopping, then stopped', async () => {
  const child = supervisor.run(program('p', `${onTerm('setTimeout(() => process.exit(), 100)')} write('up')`))
  expect(child.state).toBe('starting')
  await eventually(journal, SOON)
  await eventually(() => expect(child.state).toBe('running'), SOON)
  const stopped = child.stop()
  expect(child.state).toBe('stopping')
  await stopped
  expect([child.state, child.pid, child.restarts]).toEqual(['stopped', null, 0])
})

test('a process that was told to end stays so, though it has run for long enough to be well', async () => {
  const healthyAfterMs = 3_600_000
  const strict = createSupervisor({ ...OPTIONS, healthyAfterMs })
  onTestFinished(() => strict.stop())
  const timers = vi.spyOn(globalThis, 'setTimeout')
  onTestFinished(() => timers.mockRestore())
  const child = strict.run(program('p', `${onTerm('')} write('up')`))
  await eventually(journal, SOON)
  const isWell = timers.mock.calls.find(([, ms]) => ms === healthyAfterMs)?.[0]
  const stopped = child.stop()
  isWell?.()
  expect(child.state).toBe('stopping')
  await stopped
  expect([isWell === undefined, child.state]).toEqual([false, 'stopped'])
})

test('a process that keeps ending is started again after longer and longer pauses', async () => {
  // none of them lives for long enough to be well, however slowly it starts
  const strict = createSupervisor({ ...OPTIONS, healthyAfterMs: 3_600_000 })
  onTestFinished(() => strict.stop())
  const timers = vi.spyOn(globalThis, 'setTimeout')
  onTestFinished(() => timers.mockRestore())
  const child = strict.run(program('p', "write('up'); console.error('Error: no luck'); process.exit(3)"))
  await eventually(() => expect(child.restarts).toBeGreaterThanOrEqual(5), SOON)
  const { baseMs, maxMs } = OPTIONS.backoff
  const pauses = timers.mock.calls.map(([, ms = 0]) => ms).filter((ms) => ms >= baseMs && ms <= maxMs)
  expect(pauses.slice(0, 5)).toEqual([100, 200, 400, 400, 400])
  expect(child.lastError).toBe('Error: no luck')
  await eventually(async () => expect((await journal()).length).toBeGreaterThan(5), SOON)
  expect(await readFile(child.logFile, 'utf8')).toContain('Error: no luck\n')
})

test('a process that has been well starts again with the shortest pause', async () => {
  // without a pause that begins anew each time, the last restart would come after minutes
  const patient = createSupervisor({ ...OPTIONS, backoff: { baseMs: 100, maxMs: 600_000 } })
  onTestFinished(() => patient.stop())
  const child = patient.run(program('p', `write('up'); ${LIVES}`))
  const hasStarted = async (times: number): Promise<void> => expect(await journal()).toHaveLength(times)
  for (let kills = 0; kills < 12; kills += 1) {
    await eventually(() => hasStarted(kills + 1), SOON)
    await eventually(() => expect(child.state).toBe('running'), SOON)
    child.kill('SIGKILL')
  }
  await eventually(() => hasStarted(13), SOON)
  expect(child.restarts).toBe(12)
})

test('what is not to be restarted tells how it ended', async () => {
  const good = supervisor.run(program('good', 'process.exit(0)', { restart: 'never' }))
  const bad = supervisor.run(program('bad', 'process.exit(2)', { restart: 'never' }))
  const absent = supervisor.run({ ...program('absent', ''), command: join(folder, 'absent'), restart: 'never' })
  expect([await good.exited, await bad.exited, await absent.exited]).toEqual([0, 2, null])
  expect([good.state, bad.state, absent.state]).toEqual(['stopped', 'failed', 'failed'])
  expect(absent.lastError).toContain('ENOENT')
})

test('lines are passed on as they are printed, the last ones before the end is told', async () => {
  const LINES = 300
  const script = `for (let line = 0; line < ${LINES}; line++) console.log('line ' + line)`
  const told = Array.from({ length: 20 }, async (_, index) => {
    const lines: string[] = []
    const onLine = (line: string): void => void lines.push(line)
    const child = supervisor.run(program(`p${index}`, script, { restart: 'never', onLine }))
    await child.exited
    return [lines.length, lines.at(-1), child.lastError]
  })
  for (const seen of await Promise.all(told)) expect(seen).toEqual([LINES, 'line 299', 'line 299'])
})

test('all end in reverse order, each after the one before it is gone, and a stubborn one by force', async () => {
  // long enough for all but the stubborn one to end by themselves
  const patient = createSupervisor({ ...OPTIONS, stopWithinMs: 5_000 })
  onTestFinished(() => patient.stop())
  const slow = (name: string): ProcessSpec =>
    program(name, `${onTerm(`setTimeout(() => { write('${name}'); process.exit() }, 100)`)} write('up')`)
  patient.run(slow('first'))
  patient.run(slow('second'))
  const stubborn = patient.run(program('stubborn', `${onTerm("write('never')")} write('up')`))
  patient.run(slow('last'))
  await eventually(async () => expect(await journal()).toHaveLength(4), SOON)
  const pid = stubborn.pid ?? 0
  await Promise.all([patient.stop(), patient.stop()])
  expect((await journal()).slice(4)).toEqual(['last', 'never', 'second', 'first'])
  expect(alive(pid)).toBe(false)
  expect(() => patient.run(slow('late'))).toThrow('late cannot start: the supervisor is stopping')
})

test('what a process started itself goes with it', async () => {
  const child = supervisor.run(
    program('p', `write(require('child_process').spawn('sleep', ['1000']).pid); ${LIVES}`, { restart: 'never' }),
  )
  const [grandchild] = (await eventually(journal, SOON)).map(Number)
  child.kill('SIGTERM')
  await child.exited
  await eventually(() => expect(alive(grandchild ?? 0)).toBe(false), SOON)
})

test('a supervisor that is killed leaves nothing behind: stages end, and only then components', async () => {
  const ends = (name: string): string => onTerm(`setTimeout(() => { write('${name} ended'); process.exit() }, 200)`)
  const specs = [
    program('component', `${ends('component')} write('up')`, { role: 'component' }),
    program('stage', `${ends('stage')} write('up')`, { role: 'stage' }),
    program('stubborn', `${onTerm('')} write('up')`),
  ]
  const main = join(folder, 'main.mts')
  await writeFile(
    main,
    `import { createSupervisor } from ${JSON.stringify(SUPERVISOR)}
     const supervisor = createSupervisor()
     const pids = ${JSON.stringify(specs)}.map((spec) => supervisor.run(spec).pid)
     process.stdout.write(JSON.stringify(pids) + '\\n')`,
  )
  const parent = spawn(process.execPath, [main], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line]: unknown[] = await once(parent.stdout, 'data')
  const pids: number[] = JSON.parse(String(line))
  await eventually(async () => expect(await journal()).toHaveLength(3), SOON)
  parent.kill('SIGKILL')
  await once(parent, 'exit')
  await eventually(() => expect(pids.filter(alive)).toEqual([]), SOON)
  expect((await journal()).slice(3)).toEqual(['stage ended', 'component ended'])
})
