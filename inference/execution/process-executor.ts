import { serialize } from 'node:v8'
import { type Backoff, backoffMs } from '../../infra/runtime/backoff.ts'
import { fatal, retryable } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { type ChildDeath, type ChildRequest, type ExecutorChild, startChild } from './child-handle.ts'
import { type Executor, ModelRunError, type PreparedModel, type RestartCause } from './executor.ts'
import { createRecyclePolicy } from './recycle-policy.ts'
import type { Provider } from './run-rows.ts'

export interface ProcessExecutorOptions {
  readonly provider: Provider
  readonly logger: Logger
  /** What a run of so many rows is expected to take, ms; 0 = not known. A run may take 20 times as long. */
  expectedMs(manifest: ModelManifest, rows: number): number
  /** Least time that a run is given, however quick it should be. Default 2,000. */
  readonly minTimeoutMs?: number
  /** For loading a model and its golden rows. Default 60,000. */
  readonly loadTimeoutMs?: number
  /** Resident memory above which the child is killed. Default 4 GB. */
  readonly memoryLimitBytes?: number
  /** A child that has grown by so much since its models were loaded is started anew when it has nothing to do. Default 512 MB. */
  readonly recycleGrowthBytes?: number
  /** A child has to be started anew. Must not throw. */
  restarted?(cause: RestartCause): void
}

const DEPTH = 2
const SLACK = 20
const LEAST_RUN_MS = 2_000
const START_TIMEOUT_MS = 20_000
const RESTART: Backoff = { baseMs: 100, maxMs: 10_000 }
/** Children that someone else killed at the same thing, after which it is to blame. */
const KILLS = 3
/** Deaths before a child was there, after which nobody waits for the next any longer. */
const VAIN_STARTS = 3
const NOTHING = new Uint8Array()

/** Time that a run is given, by what it is expected to take, ms. */
export function runLimitMs(expectedMs: number, leastMs: number = LEAST_RUN_MS): number {
  return Math.max(leastMs, SLACK * expectedMs)
}

interface Model {
  readonly number: number
  readonly manifest: ModelManifest
  /** False = it was refused or ended the child when it was loaded again: it is tried before its next run. */
  isLoaded: boolean
  /** Children that someone else killed while they loaded it again, in a row. */
  kills: number
}

interface Answer {
  readonly body: ArrayBuffer
  readonly tookMs: number
}

type Asked = Omit<ChildRequest, 'done' | 'failed'>

interface Job {
  readonly request: Asked
  /** As the child was asked last. */
  sentAs: ChildRequest | null
  readonly model: Model
  /** Children that someone else killed while they were at it. */
  kills: number
  readonly done: (answer: Answer) => void
  readonly failed: (error: Error) => void
}

/**
 * Runs models in a child process. When it dies, hangs or grows too large it is killed, the run that it was at is rejected
 * with what ended it, a new one loads all models again, and what waited is run by that one. So is what it was at when
 * someone else kills it, up to three times.
 */
export function createProcessExecutor(options: ProcessExecutorOptions): Executor {
  const { provider, logger, expectedMs } = options
  const { minTimeoutMs = LEAST_RUN_MS, loadTimeoutMs = 60_000 } = options
  const { memoryLimitBytes = 4 * 2 ** 30, recycleGrowthBytes = 512 * 2 ** 20 } = options
  const models = new Map<number, Model>()
  const recycling = createRecyclePolicy(recycleGrowthBytes, memoryLimitBytes)
  const restarts: Record<RestartCause, number> = {
    crash: 0,
    timeout: 0,
    memory: 0,
    killed: 0,
    recycled: 0,
  }
  /** What is asked, in order; the first `sent` of them of this child. */
  const jobs: Job[] = []
  let sent = 0
  let child: ExecutorChild | null = null
  let vainStarts = 0
  let restart: NodeJS.Timeout | null = null
  let lastModel = 0
  let runs = 0
  let isClosed = false
  /** Least that a run took besides what it took the child: what it cannot do without, and none of what this thread was busy with. */
  let handOverMs = Number.POSITIVE_INFINITY
  const endings = new Set<Promise<void>>()
  let drained: (() => void) | null = null

  function loading(model: Model): Asked {
    const body = serialize({ manifest: model.manifest, provider })
    return { kind: 'prepare', model: model.number, body, answerBytes: 0, timeoutMs: loadTimeoutMs }
  }

  function start(): void {
    restart = null
    recycling.began(performance.now())
    const started = startChild({ memoryLimitBytes, logger, died, rested })
    child = started
    started.send({
      kind: 'hello',
      model: 0,
      body: NOTHING,
      answerBytes: 0,
      timeoutMs: START_TIMEOUT_MS,
      done() {
        vainStarts = 0
      },
      failed: () => undefined,
    })
    for (const model of models.values()) if (model.isLoaded) loadAgain(started, model)
    pump()
  }

  function loadAgain(into: ExecutorChild, model: Model): void {
    model.isLoaded = true
    into.send({
      ...loading(model),
      done() {
        model.kills = 0
      },
      failed(_fault, code, message) {
        model.isLoaded = false
        const { name, version } = model.manifest
        logger.error({ code, message, model: name, version }, 'model could not be loaded again')
      },
    })
  }

  function pump(): void {
    if (child === null) {
      if (jobs.length > 0 && restart === null) start()
      return
    }
    while (sent < Math.min(DEPTH, jobs.length)) {
      const job = jobs[sent] as Job
      sent++
      if (job.request.kind === 'run' && !job.model.isLoaded) loadAgain(child, job.model)
      job.sentAs = {
        ...job.request,
        done(body, tookMs) {
          if (job.request.kind === 'prepare') models.set(job.model.number, job.model)
          finish(job, () => job.done({ body, tookMs }))
        },
        failed: (fault, code, message) =>
          finish(job, () => {
            if (job.request.kind !== 'run') job.failed(fatal(code, message))
            else job.failed(fault === 'refused' ? lost(job.model, message) : new ModelRunError(fault, message))
          }),
      }
      child.send(job.sentAs)
    }
    if (jobs.length === 0) drained?.()
  }

  /** Jobs end in their order. */
  function finish(job: Job, settle: () => void): void {
    jobs.splice(jobs.indexOf(job), 1)
    sent--
    if (job.request.kind === 'run') runs++
    settle()
    pump()
  }

  function rested(residentBytes: number): void {
    if (isClosed || jobs.length > 0 || !recycling.rested(residentBytes, performance.now())) return
    logger.info({ residentBytes }, 'executor child has grown and is started anew')
    startsAnew('recycled')
    const old = child
    start()
    if (old !== null) end(old)
  }

  function startsAnew(cause: RestartCause): void {
    restarts[cause]++
    options.restarted?.(cause)
  }

  function end(one: ExecutorChild): void {
    const ending = one.close().finally(() => endings.delete(ending))
    endings.add(ending)
  }

  function died({ fault, message, during }: ChildDeath): void {
    child = null
    startsAnew(fault)
    if (fault === 'memory') recycling.exceeded()
    logger.warn({ fault, message, during: during?.kind ?? null }, 'executor child ended')
    const asked = jobs.slice(0, sent)
    sent = 0
    if (during?.kind === 'hello') vainStarts++
    if (vainStarts >= VAIN_STARTS) {
      reject(() => true, retryable('model_unavailable', `no executor can be started: ${message}`))
    } else if (during !== null) {
      blame(during, asked, fault, message)
    }
    if (isClosed) reject(() => true, closed())
    drained?.()
    if (isClosed || (models.size === 0 && jobs.length === 0)) return
    restart = setTimeout(start, vainStarts === 0 ? 0 : backoffMs(RESTART, vainStarts))
  }

  /** Rejects what the child was at; everything else is asked again of the next one. */
  function blame(during: ChildRequest, asked: readonly Job[], fault: ChildDeath['fault'], message: string): void {
    const job = asked.find(({ sentAs }) => sentAs === during)
    const model = job?.model ?? models.get(during.model)
    if (fault === 'killed' && model !== undefined && ++(job ?? model).kills < KILLS) return
    if (job !== undefined) {
      if (job.request.kind === 'retire') finishDead(job, () => job.done({ body: new ArrayBuffer(), tookMs: 0 }))
      else if (job.request.kind === 'run')
        finishDead(job, () => job.failed(new ModelRunError(fault === 'killed' ? 'memory' : fault, message)))
      else finishDead(job, () => job.failed(fatal('invalid_model', `${job.model.manifest.folder}: ${message}`)))
      return
    }
    if (during.kind !== 'prepare' || model === undefined) return
    // it is left out until it is asked for again
    model.isLoaded = false
    model.kills = 0
    reject((one) => one.model === model, lost(model, message))
  }

  function finishDead(job: Job, settle: () => void): void {
    jobs.splice(jobs.indexOf(job), 1)
    if (job.request.kind === 'run') runs++
    settle()
  }

  function reject(which: (job: Job) => boolean, error: Error): void {
    for (const job of jobs.filter(which)) finishDead(job, () => job.failed(error))
  }

  function ask(model: Model, request: Asked): Promise<Answer> {
    if (isClosed) return Promise.reject(closed())
    const { promise, resolve, reject: fail } = Promise.withResolvers<Answer>()
    jobs.push({ request, sentAs: null, model, kills: 0, done: resolve, failed: fail })
    pump()
    return promise
  }

  function run(model: Model, rows: Float32Array): Promise<Answer> {
    const { manifest, number } = model
    const count = rows.length / manifest.input.features.length
    return ask(model, {
      kind: 'run',
      model: number,
      body: new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength),
      answerBytes: count * manifest.output.width * Float32Array.BYTES_PER_ELEMENT,
      timeoutMs: runLimitMs(expectedMs(manifest, count), minTimeoutMs),
    })
  }

  return {
    kind: 'process',
    provider,
    depth: DEPTH,
    async prepare(manifest) {
      const model: Model = { number: ++lastModel, manifest, isLoaded: true, kills: 0 }
      await ask(model, loading(model))
      return {
        manifest,
        async run(rows) {
          const isAlone = jobs.length === 0
          const startedAt = performance.now()
          const { body, tookMs } = await run(model, rows)
          if (isAlone) handOverMs = Math.min(handOverMs, performance.now() - startedAt - tookMs)
          return { outputs: new Float32Array(body), tookMs: tookMs + (Number.isFinite(handOverMs) ? handOverMs : 0) }
        },
        async retire() {
          models.delete(model.number)
          if (child === null || isClosed) return
          const { number } = model
          await ask(model, { kind: 'retire', model: number, body: NOTHING, answerBytes: 0, timeoutMs: loadTimeoutMs })
        },
      } satisfies PreparedModel
    },
    stats: () => ({
      models: models.size,
      runs,
      restarts: { ...restarts },
      residentBytes: child?.residentBytes() ?? null,
    }),
    async close() {
      isClosed = true
      if (jobs.length > 0)
        await new Promise<void>((resolve) => {
          drained = resolve
        })
      if (restart !== null) clearTimeout(restart)
      if (child !== null) end(child)
      child = null
      models.clear()
      await Promise.all(endings)
    },
  }
}

/** No row is to blame for a model that was loaded once, and cannot be loaded again. */
function lost({ manifest }: Model, message: string): Error {
  return fatal('model_failed', `model ${manifest.name} ${manifest.version} cannot be loaded again: ${message}`)
}

const closed = (): Error => retryable('model_unavailable', 'the executor is closed')
