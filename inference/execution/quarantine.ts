import { MillraceError, retryable } from '../../infra/runtime/errors.ts'
import type { ModelManifest } from '../../schemas/pipeline/manifest.ts'
import type { Executor, PreparedModel } from './executor.ts'
import { type Replay, replayRows } from './replay-rows.ts'

/**
 * Children of its own, in which the rows of a run that ended another child are run one by one: what ends one of these, too, is
 * to blame. A row has as long there as it has in its executor when it is a batch alone, whatever became of the rows beside it:
 * what is answered in that time is never given up. While one takes long, a second child answers the others, so only rows that
 * are to blame cost their time, one after another. The first child is started when it is needed, the second one when a row
 * takes long, and both are ended when they have not been needed for a while.
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
  /** A process executor; its watchdog decides how long one row may take: `leastMs` at least, where that is given. */
  open(leastMs?: number): Executor
  /** Default 30,000. */
  readonly idleMs?: number
}

/** A row that takes the second child longer is left to the first one, which gives it all of its time. */
const LOOK_MS = 250

interface Host {
  readonly executor: Executor
  another: Executor | null
  /** By the folder of the version: versions may have a model file in common, and differ in what is beside it. */
  readonly guests: Map<string, Guest>
}

interface Guest {
  readonly model: Promise<PreparedModel>
  /** In the other child; null = not asked for, or it could not be had. */
  another: Promise<PreparedModel> | null
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
    ending = before.then(async () => {
      await Promise.all([ended?.executor.close(), ended?.another?.close()])
    })
    await ending
  }

  function guestOf(manifest: ModelManifest): Guest {
    host ??= { executor: open(), another: null, guests: new Map() }
    const { executor, guests } = host
    const known = guests.get(manifest.folder)
    if (known !== undefined) return known
    const guest: Guest = { model: executor.prepare(manifest), another: null, uses: 0, isLeaving: false }
    guests.set(manifest.folder, guest)
    return guest
  }

  /** Null when it cannot be had, which its executor has logged: then the first child does everything. */
  async function anotherOf(manifest: ModelManifest, guest: Guest): Promise<PreparedModel | null> {
    if (host === null || isClosed) return null
    host.another ??= open(LOOK_MS)
    guest.another ??= host.another.prepare(manifest)
    try {
      return await guest.another
    } catch {
      guest.another = null
      return null
    }
  }

  function leave({ folder }: ModelManifest, guest: Guest): void {
    if (host?.guests.get(folder) === guest) host.guests.delete(folder)
    guest.isLeaving = true
    retireUnused(guest)
  }

  function retireUnused({ model, another, uses, isLeaving }: Guest): void {
    if (!isLeaving || uses > 0) return
    // what was never loaded, or is gone with its child, need not be freed
    for (const each of [model, another]) each?.then((one) => one.retire()).catch(() => undefined)
  }

  async function use<T>(
    manifest: ModelManifest,
    work: (model: PreparedModel, another: () => Promise<PreparedModel | null>) => Promise<T>,
  ): Promise<T | null> {
    if (isClosed) throw retryable('model_unavailable', 'the quarantine is closed')
    const guest = guestOf(manifest)
    guest.uses++
    users++
    if (idle !== null) clearTimeout(idle)
    try {
      return await work(await guest.model, () => anotherOf(manifest, guest))
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
    replay: (manifest, rows) => use(manifest, (model, another) => replayRows(model, another, rows)),
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
