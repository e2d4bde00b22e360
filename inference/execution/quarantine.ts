import { MillraceError, retryable } from '../../infra/runtime/errors.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import { type Executor, ModelRunError, type PreparedModel } from './executor.ts'
import type { RowFailure } from './run-rows.ts'

/** What became of rows that were run one by one. */
export interface Replay {
  /** [rows, manifest.output.width] */
  readonly outputs: Float32Array
  readonly failures: ReadonlyMap<number, RowFailure>
}

/**
 * A child of its own, in which the rows of a run that ended another child are run one by one: what ends this one, too, is to
 * blame. It is started when it is needed, and ended when it has not been for a while.
 */
export interface Quarantine {
  /** Gets ready for a replay that may come; whether it could is told to who asks for the replay. */
  warm(manifest: ModelManifest): void
  /** Null when the model does not get as far as the first row: then none is to blame. Rejects with `retry`. */
  replay(manifest: ModelManifest, rows: Float32Array): Promise<Replay | null>
  /** Frees a model that nobody asks about any more, once its replays are over. */
  forget(manifest: ModelManifest): void
  close(): Promise<void>
}

export interface QuarantineOptions {
  /** A process executor; its watchdog decides how long one row may take. */
  open(): Executor
  /** Default 30,000. */
  readonly idleMs?: number
}

interface Host {
  readonly executor: Executor
  /** By the folder of the version: versions may have a model file in common, and differ in what is beside it. */
  readonly guests: Map<string, Guest>
}

interface Guest {
  readonly model: Promise<PreparedModel>
  uses: number
  isLeaving: boolean
}

export function createQuarantine({ open, idleMs = 30_000 }: QuarantineOptions): Quarantine {
  let host: Host | null = null
  let users = 0
  let idle: NodeJS.Timeout | null = null
  let ending: Promise<void> = Promise.resolve()
  let isClosed = false

  async function end(): Promise<void> {
    const ended = host
    host = null
    const before = ending
    ending = before.then(() => ended?.executor.close())
    await ending
  }

  function guestOf(manifest: ModelManifest): Guest {
    host ??= { executor: open(), guests: new Map() }
    const { executor, guests } = host
    const known = guests.get(manifest.folder)
    if (known !== undefined) return known
    const guest: Guest = { model: executor.prepare(manifest), uses: 0, isLeaving: false }
    guests.set(manifest.folder, guest)
    return guest
  }

  function leave({ folder }: ModelManifest, guest: Guest): void {
    if (host?.guests.get(folder) === guest) host.guests.delete(folder)
    guest.isLeaving = true
    retireUnused(guest)
  }

  function retireUnused({ model, uses, isLeaving }: Guest): void {
    // what was never loaded, or is gone with its child, need not be freed
    if (isLeaving && uses === 0) model.then((one) => one.retire()).catch(() => undefined)
  }

  async function use<T>(manifest: ModelManifest, work: (model: PreparedModel) => Promise<T>): Promise<T | null> {
    if (isClosed) throw retryable('model_unavailable', 'the quarantine is closed')
    const guest = guestOf(manifest)
    guest.uses++
    users++
    if (idle !== null) clearTimeout(idle)
    try {
      return await work(await guest.model)
    } catch (error) {
      leave(manifest, guest)
      if (error instanceof MillraceError && error.fate === 'crash') return null
      throw error
    } finally {
      guest.uses--
      retireUnused(guest)
      users--
      if (users === 0) idle = setTimeout(() => void end(), idleMs).unref()
    }
  }

  return {
    warm(manifest) {
      if (!isClosed) use(manifest, () => Promise.resolve()).catch(() => undefined)
    },
    replay: (manifest, rows) => use(manifest, (model) => oneByOne(model, rows)),
    forget(manifest) {
      const guest = host?.guests.get(manifest.folder)
      if (guest !== undefined) leave(manifest, guest)
    },
    async close() {
      isClosed = true
      if (idle !== null) clearTimeout(idle)
      await end()
    },
  }
}

/** Least time of a row when one before it hung: where one does, others are likely to. */
const AFTER_HANG_MS = 100

async function oneByOne(model: PreparedModel, rows: Float32Array): Promise<Replay> {
  const { input, output } = model.manifest
  const features = input.features.length
  const count = rows.length / features
  const outputs = new Float32Array(count * output.width)
  const failures = new Map<number, RowFailure>()
  let next = 0
  /** Undefined = what the executor gives. */
  let leastMs: number | undefined

  async function ask(): Promise<void> {
    for (let row = next++; row < count; row = next++) {
      try {
        const { outputs: answer } = await model.run(rows.subarray(row * features, (row + 1) * features), leastMs)
        outputs.set(answer, row * output.width)
      } catch (error) {
        if (!(error instanceof ModelRunError)) {
          next = count
          throw error
        }
        failures.set(row, { reason: REASONS[error.fault], message: error.message })
        if (error.fault === 'timeout') leastMs = AFTER_HANG_MS
      }
    }
  }

  // the child gets the next while it is at the one before
  await Promise.all([ask(), ask()])
  return { outputs, failures }
}

const REASONS = {
  rows: 'model_error',
  allocation: 'model_error',
  crash: 'model_crash',
  memory: 'model_crash',
  timeout: 'model_timeout',
} as const
