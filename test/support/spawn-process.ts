import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const LEAK_DEADLINE_MS = 30_000

export interface RunningProcess {
  readonly pid: number
  /** Everything it has printed so far, stdout and stderr in order of arrival. */
  output(): string
  kill(signal: NodeJS.Signals): void
  /** Its exit code, or the signal that ended it, once all that it printed has been read. */
  readonly exited: Promise<number | NodeJS.Signals>
}

/**
 * Runs Node on the sources, in a process group of its own. When the test is over the group must be empty: what is left is
 * killed, and the test fails.
 */
export function spawnNode(
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): RunningProcess {
  return spawnProgram(process.execPath, ['--conditions=millrace-source', ...args], options)
}

/** The same with any program. */
export function spawnProgram(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): RunningProcess {
  const child = spawn(command, args, {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${command} ${args.join(' ')} could not be started`)
  const printed: Buffer[] = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => printed.push(chunk))
  const output = () => Buffer.concat(printed).toString()
  onTestFinished(() => failOnLeak(pid, child, output))
  return {
    pid,
    output,
    kill: (signal) => void child.kill(signal),
    exited: once(child, 'close').then(([code, signal]: (number | NodeJS.Signals)[]) => code ?? signal ?? 0),
  }
}

async function failOnLeak(group: number, child: ChildProcess, output: () => string): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    signalGroup(group, 'SIGKILL')
    throw new Error(`the test ended before the process it started:\n${output()}`)
  }
  try {
    await eventually(
      () => {
        if (signalGroup(group, 0)) throw new Error('it left processes behind')
      },
      { deadlineMs: LEAK_DEADLINE_MS },
    )
  } catch (error) {
    signalGroup(group, 'SIGKILL')
    throw new Error(`${String(error)}\n${output()}`, { cause: error })
  }
}

/** False when the group is empty. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}
