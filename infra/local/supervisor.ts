import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { type Guard, type Role, startGuard } from './guard-link.ts'

/**
 *   starting     the process runs, but has not been seen healthy
 *   running      it has run for a while (or said that it is ready)
 *   backing-off  it ended by itself and waits to be started again
 *   stopping     it was told to end
 *   stopped      it ended because it was told to
 *   failed       it ended and is not to be started again
 */
type ProcessState = 'starting' | 'running' | 'backing-off' | 'stopping' | 'stopped' | 'failed'

export interface ProcessSpec {
  readonly name: string
  /** If the supervisor dies, its guard ends the stages first, then the components. Default: a stage. */
  readonly role?: Role
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** Everything the process prints is appended here. */
  readonly logFile: string
  readonly restart: 'always' | 'never'
  readonly onLine?: (line: string) => void
}

export interface SupervisedProcess {
  readonly name: string
  readonly logFile: string
  readonly state: ProcessState
  /** Times it was started again after ending by itself. */
  readonly restarts: number
  readonly pid: number | null
  /** Last line of the process that reads like an error, else its last line. */
  readonly lastError: string | null
  /** Resolves with the exit code when a process of `restart: 'never'` has ended and its lines are passed on; null = by a signal. */
  readonly exited: Promise<number | null>
  kill(signal: NodeJS.Signals): void
  /** Ends it, and keeps it down until `start`. */
  stop(): Promise<void>
  start(): void
}

export interface Supervisor {
  run(spec: ProcessSpec): SupervisedProcess
  readonly processes: readonly SupervisedProcess[]
  /** Ends all, the last started first, each with SIGTERM and after the deadline with SIGKILL. */
  stop(): Promise<void>
}

interface SupervisorOptions {
  readonly backoff: { readonly baseMs: number; readonly maxMs: number }
  /** A process that has run for so long starts again with the shortest back-off. */
  readonly healthyAfterMs: number
  readonly stopWithinMs: number
}

const DEFAULTS: SupervisorOptions = {
  backoff: { baseMs: 200, maxMs: 10_000 },
  healthyAfterMs: 5_000,
  stopWithinMs: 25_000,
}

export function createSupervisor(options: SupervisorOptions = DEFAULTS): Supervisor {
  const guard = startGuard()
  const processes: (SupervisedProcess & { stop(): Promise<void> })[] = []
  let stopping: Promise<void> | null = null

  async function stopAll(): Promise<void> {
    for (const process of processes.toReversed()) await process.stop()
    await guard.dismiss()
  }

  return {
    processes,
    run(spec) {
      if (stopping !== null) throw new Error(`${spec.name} cannot start: the supervisor is stopping`)
      const process = supervise(spec, options, guard)
      processes.push(process)
      return process
    },
    stop() {
      stopping ??= stopAll()
      return stopping
    },
  }
}

function supervise(spec: ProcessSpec, options: SupervisorOptions, guard: Guard): SupervisedProcess {
  mkdirSync(path.dirname(spec.logFile), { recursive: true })
  const exited = Promise.withResolvers<number | null>()
  let state: ProcessState = 'stopped'
  let restarts = 0
  let failuresInARow = 0
  let wanted = true
  let child: ChildProcess | null = null
  let gone: Promise<void> = Promise.resolve()
  let timer: NodeJS.Timeout | undefined
  let lastError: string | null = null

  function start(): void {
    wanted = true
    state = 'starting'
    const startedAt = performance.now()
    const log = createWriteStream(spec.logFile, { flags: 'a' })
    const started = spawn(spec.command, [...spec.args], {
      // a group of its own: Ctrl-C on the terminal reaches the supervisor alone, which stops things in order
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...spec.env },
      ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
    })
    child = started
    if (started.pid !== undefined) guard.watch(started.pid, spec.role ?? 'stage')
    follow(started, log)
    started.once('spawn', () => {
      const healthy = setTimeout(() => {
        // it may have been told to end meanwhile
        if (state === 'starting') state = 'running'
        failuresInARow = 0
      }, options.healthyAfterMs)
      started.once('exit', () => clearTimeout(healthy))
    })

    gone = new Promise((resolve) => {
      const ended = (code: number | null, ranMs: number): void => {
        log.end()
        child = null
        onEnd(code, ranMs)
        resolve()
      }
      started.once('error', (error) => {
        lastError = error.message
        ended(null, 0)
      })
      started.once('exit', (code) => {
        const ranMs = performance.now() - startedAt
        signalGroup(started, 'SIGKILL') // what it had started itself
        if (started.pid !== undefined) guard.forget(started.pid)
        // it has ended once its last words are read; who left its group and holds its output delays that no longer than a stop
        const deaf = setTimeout(() => {
          for (const stream of [started.stdout, started.stderr]) stream.destroy()
        }, options.stopWithinMs)
        started.once('close', () => {
          clearTimeout(deaf)
          ended(code, ranMs)
        })
      })
    })
  }

  function onEnd(code: number | null, ranMs: number): void {
    if (!wanted) {
      state = 'stopped'
      exited.resolve(code)
      return
    }
    if (spec.restart === 'never') {
      state = code === 0 ? 'stopped' : 'failed'
      exited.resolve(code)
      return
    }
    failuresInARow = ranMs >= options.healthyAfterMs ? 0 : failuresInARow + 1
    const waitMs = Math.min(options.backoff.maxMs, options.backoff.baseMs * 2 ** failuresInARow)
    state = 'backing-off'
    restarts += 1
    timer = setTimeout(start, waitMs)
  }

  function follow(started: ChildProcess, log: WriteStream): void {
    for (const stream of [started.stdout, started.stderr]) {
      if (stream === null) continue
      createInterface({ input: stream }).on('line', (line) => {
        log.write(`${line}\n`)
        if (line.trim() !== '') {
          const looksBad = /error|exception|fatal/i.test(line)
          if (looksBad || lastError === null || !/error|exception|fatal/i.test(lastError)) lastError = line.trim()
        }
        spec.onLine?.(line)
      })
    }
  }

  async function stop(): Promise<void> {
    wanted = false
    clearTimeout(timer)
    const running = child
    if (running === null) {
      state = 'stopped'
      exited.resolve(null)
      return
    }
    state = 'stopping'
    signalGroup(running, 'SIGTERM')
    const force = setTimeout(() => signalGroup(running, 'SIGKILL'), options.stopWithinMs)
    await gone
    clearTimeout(force)
  }

  start()
  return {
    name: spec.name,
    logFile: spec.logFile,
    exited: exited.promise,
    get state() {
      return state
    },
    get restarts() {
      return restarts
    },
    get pid() {
      return child?.pid ?? null
    },
    get lastError() {
      return lastError
    },
    kill: (signal) => {
      if (child !== null) signalGroup(child, signal)
    },
    stop,
    start: () => {
      clearTimeout(timer)
      if (child === null) start()
    },
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
