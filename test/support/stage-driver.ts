import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { SupervisedProcess, Supervisor } from '../../infra/local/supervisor.ts'
import type { KillPoint } from '../../infra/runtime/kill-points/kill-points.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
const CONDITIONS = ['--conditions=millrace-test', '--conditions=millrace-source']

export type DrivenStage = 'processors' | 'inference' | 'sinks'

export interface KillOrder {
  readonly point: KillPoint
  /** At the nth time that the process comes there. */
  readonly nth: number
  readonly signal: 'KILL' | 'STOP'
}

/** A process of a stage, which does not start again by itself. It is signalled by its id alone. */
export interface StageRun {
  readonly stage: DrivenStage
  readonly pid: number
  readonly logFile: string
  /** Resolves when it says that it has started; never when it ends before. */
  readonly started: Promise<void>
  /** Whether it has come to the point of its order. */
  readonly reached: boolean
  /** Resolves when it has; never when it ends before. */
  readonly atPoint: Promise<void>
  /** Resolves with its exit code, null when a signal ended it. */
  readonly exited: Promise<number | null>
  /** Last line that reads like an error. */
  readonly lastError: string | null
  signal(signal: NodeJS.Signals): void
  /** Stops it where it is, for so long, and lets it go on: longer than its session it is a zombie. */
  freeze(forMs: number, signal?: AbortSignal): Promise<void>
  /** Ends it in order, whatever state it is in. */
  stop(): Promise<void>
}

export interface StageDriver {
  start(stage: DrivenStage, order?: KillOrder | null): StageRun
}

export function createStageDriver(options: {
  /** Ends what still runs when it stops, or when this process dies. */
  readonly supervisor: Supervisor
  /** Addresses of the stack, and whatever else a stage is to read. */
  readonly env: Readonly<Record<string, string>>
  readonly pipelineFolder: string
  readonly logDir: string
}): StageDriver {
  const { supervisor, env, pipelineFolder, logDir } = options
  return {
    start(stage, order = null) {
      const started = Promise.withResolvers<void>()
      const atPoint = Promise.withResolvers<void>()
      let reached = false
      const process = supervisor.run({
        name: stage,
        command: globalThis.process.execPath,
        args: [...CONDITIONS, path.join(ROOT, stage, 'main.ts')],
        cwd: ROOT,
        env: {
          ...env,
          // `started` reads it
          MILLRACE_LOG_LEVEL: 'info',
          MILLRACE_PIPELINE: pipelineFolder,
          MILLRACE_KILL_POINT: order === null ? '' : `${order.point}:${order.nth}:${order.signal}`,
        },
        logFile: path.join(logDir, `${stage}.log`),
        restart: 'never',
        onLine: (line) => {
          if (line.endsWith('"msg":"stage started"}')) started.resolve()
          if (!line.startsWith('{"killPoint":')) return
          reached = true
          atPoint.resolve()
        },
      })
      return stageRun(stage, process, started.promise, atPoint.promise, () => reached)
    },
  }
}

function stageRun(
  stage: DrivenStage,
  process: SupervisedProcess,
  started: Promise<void>,
  atPoint: Promise<void>,
  reached: () => boolean,
): StageRun {
  const { pid } = process
  if (pid === null) throw new Error(`${stage} could not be started: ${process.lastError}`)
  return {
    stage,
    pid,
    logFile: process.logFile,
    started,
    get reached() {
      return reached()
    },
    atPoint,
    exited: process.exited,
    get lastError() {
      return process.lastError
    },
    signal: (signal) => process.kill(signal),
    async freeze(forMs, signal) {
      process.kill('SIGSTOP')
      await delay(forMs, undefined, signal === undefined ? {} : { signal }).catch(() => {})
      process.kill('SIGCONT')
    },
    async stop() {
      // one that is stopped would hear of its end only when it is continued
      process.kill('SIGCONT')
      await process.stop()
    },
  }
}
