import path from 'node:path'
import type { Supervisor } from '../../../infra/local/supervisor.ts'
import type { KillOrder } from '../stage-driver.ts'
import type { HopSettings } from './hop-settings.ts'

const ROOT = path.resolve(import.meta.dirname, '../../..')
const CONDITIONS = ['--conditions=millrace-test', '--conditions=millrace-source']

/** A hop in a process of its own, which does not start again by itself. It is signalled by its id alone. */
export interface HopRun {
  /** Batches that its handler has finished, and how many of them before an earlier one of their lane. */
  readonly finished: number
  readonly overtaking: number
  /** Finished batches that stand behind one at work, as it said last. */
  readonly waiting: number
  /** Whether it came to the point of its order. */
  readonly reached: boolean
  /** Resolves when it is so, looked at whenever a batch is finished. */
  until(condition: () => boolean): Promise<void>
  /** Its exit code, null when a signal ended it. */
  readonly exited: Promise<number | null>
  readonly lastError: string | null
  kill(): void
  /** Ends it in order. */
  stop(): Promise<void>
}

export function startHop(
  supervisor: Supervisor,
  settings: HopSettings,
  options: { readonly order: KillOrder | null; readonly logFile: string },
): HopRun {
  const { order, logFile } = options
  const counts = { finished: 0, overtaking: 0, waiting: 0, reached: false }
  const watchers = new Set<() => void>()
  const child = supervisor.run({
    name: 'hop',
    command: process.execPath,
    args: [...CONDITIONS, path.join(import.meta.dirname, 'hop-process.ts'), JSON.stringify(settings)],
    cwd: ROOT,
    env: { MILLRACE_KILL_POINT: order === null ? '' : `${order.point}:${order.nth}:${order.signal}` },
    logFile,
    restart: 'never',
    onLine(line) {
      if (line.startsWith('{"killPoint":')) counts.reached = true
      if (!line.startsWith('finished ')) return
      const [, , , overtook, waiting] = line.split(' ').map(Number)
      counts.finished++
      if ((overtook ?? 0) > 0) counts.overtaking++
      counts.waiting = waiting ?? 0
      for (const watcher of watchers) watcher()
    },
  })
  return {
    get finished() {
      return counts.finished
    },
    get overtaking() {
      return counts.overtaking
    },
    get waiting() {
      return counts.waiting
    },
    get reached() {
      return counts.reached
    },
    until(condition) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const watcher = (): void => {
        if (!condition()) return
        watchers.delete(watcher)
        resolve()
      }
      watchers.add(watcher)
      watcher()
      return promise
    },
    exited: child.exited,
    get lastError() {
      return child.lastError
    },
    kill: () => child.kill('SIGKILL'),
    stop: () => child.stop(),
  }
}
