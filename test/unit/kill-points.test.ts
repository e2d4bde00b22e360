import { execFileSync, spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { spawnNode } from '../support/spawn-process.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const ARMED = ['--conditions=millrace-test', '--conditions=millrace-source']
const PASSES = `import { killPoint } from '#kill-points'
  for (let pass = 1; pass <= 3; pass++) { console.log('pass ' + pass); killPoint('after-fetch'); killPoint('before-commit') }`

const SOON = { deadlineMs: 30_000 }

/** As `ps` has it: T = stopped. */
const stateOf = (pid: number): string => execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' })

function run(conditions: readonly string[], point: string, script = PASSES) {
  const env = { ...process.env, MILLRACE_KILL_POINT: point }
  return spawnSync(process.execPath, [...conditions, '--input-type=module', '-e', script], {
    cwd: ROOT,
    env,
    encoding: 'utf8',
  })
}

test('an armed process kills itself at the point, at the pass that is asked for, and says so', () => {
  const first = run(ARMED, 'before-commit')
  expect([first.signal, first.stdout]).toEqual(['SIGKILL', 'pass 1\n'])
  expect(JSON.parse(first.stderr)).toMatchObject({ killPoint: 'before-commit', nth: 1, signal: 'SIGKILL' })

  const second = run(ARMED, 'after-fetch:2:KILL')
  expect([second.signal, second.stdout]).toEqual(['SIGKILL', 'pass 1\npass 2\n'])
})

test('a process that stops itself goes on when it is continued, and does not stop again', async () => {
  const stopped = spawnNode(['--conditions=millrace-test', '--input-type=module', '-e', PASSES], {
    env: { MILLRACE_KILL_POINT: 'after-fetch:2:STOP' },
  })
  await eventually(() => expect(stopped.output()).toContain('"SIGSTOP"'), SOON)
  // it says so before it does it
  await eventually(() => expect(stateOf(stopped.pid)).toMatch(/^T/), SOON)
  expect(stopped.output()).not.toContain('pass 3')
  stopped.kill('SIGCONT')
  expect(await stopped.exited).toBe(0)
  expect(stopped.output()).toContain('pass 3')
})

test('nothing is armed without a point, nor in the sources as they run otherwise', () => {
  for (const [conditions, point] of [
    [ARMED, ''],
    [['--conditions=millrace-source'], 'after-fetch'],
  ] as const) {
    expect(run(conditions, point)).toMatchObject({ status: 0, stderr: '' })
  }
})

test.each(['elsewhere', 'after-fetch:0', 'after-fetch:1:TERM'])('%s is refused', (point) => {
  const { status, stderr } = run(ARMED, point)
  expect(status).toBe(1)
  expect(stderr).toContain('MILLRACE_KILL_POINT must be <name>[:<nth>][:KILL|STOP]')
})

test('without a condition, as in an installed package, it is the empty one of the build', () => {
  const { stdout } = run([], 'after-fetch', "console.log(import.meta.resolve('#kill-points'))")
  expect(stdout.trim().endsWith('/dist/infra/runtime/kill-points/unarmed.js')).toBe(true)
})
