import type { Clock } from '../../infra/runtime/clock.ts'
import { describeError, retryable } from '../../infra/runtime/errors.ts'
import type { Logger } from '../../infra/runtime/telemetry/logger.ts'
import type { ServedVersion } from '../rollout/routes.ts'
import type { HeldVersion, OpenedVersion, VersionCache } from './version-cache.ts'

export interface VersionCacheObserver {
  /** What is loaded now: versions, and the memory that they take, bytes. */
  resident(versions: number, bytes: number): void
  loaded(version: ServedVersion, seconds: number): void
  /** It had to make room. */
  evicted(version: ServedVersion): void
}

export interface VersionCacheDeps {
  /** Called for one version at a time, and not before its last `close` is over. */
  readonly open: (id: string) => Promise<OpenedVersion>
  readonly maxBytes: number
  readonly clock: Clock
  readonly logger: Logger
  readonly observer: VersionCacheObserver
}

interface Entry {
  readonly id: string
  readonly opened: OpenedVersion
  holds: number
  /** Order of the last use. */
  used: number
  /** When it was last asked for without being held since, monotonic ms; null = it was held. */
  awaitedSince: number | null
}

/** Whoever had a version loaded comes to hold it within this time, or does not come. */
const AWAITED_MS = 30_000

/**
 * The version that was used last stays even above the budget, and so does one that has been asked for until it is held:
 * otherwise those that are in use could drive it out each time before its caller comes. After `close` has been called nothing is held any more, and `load` rejects with `models_closing` (retry).
 */
export function createVersionCache(deps: VersionCacheDeps): VersionCache {
  const { maxBytes, clock, logger, observer } = deps
  const entries = new Map<string, Entry>()
  const loading = new Map<string, Promise<void>>()
  const leaving = new Map<string, Promise<void>>()
  let pinned: ReadonlySet<string> = new Set()
  let uses = 0
  let pinsWereTooLarge = false
  let closing: Promise<void> | null = null
  let onRelease: () => void = () => {}

  async function openVersion(id: string): Promise<void> {
    await leaving.get(id)
    const startedAt = clock.monotonic()
    const opened = await deps.open(id)
    entries.set(id, { id, opened, holds: 0, used: ++uses, awaitedSince: clock.monotonic() })
    observer.loaded(opened.version, (clock.monotonic() - startedAt) / 1_000)
    makeRoom()
    sayResident()
  }

  function bytesOf(among: (entry: Entry) => boolean = () => true): number {
    let bytes = 0
    for (const entry of entries.values()) if (among(entry)) bytes += entry.opened.bytes()
    return bytes
  }

  const sayResident = (): void => observer.resident(entries.size, bytesOf())

  function makeRoom(): void {
    for (const entry of entries.values()) {
      if (entry.opened.staysIdle || entry.holds > 0 || pinned.has(entry.id)) continue
      logger.info(named(entry.opened.version), 'model closed: nothing is to use it any more')
      void leave(entry)
    }
    if (bytesOf() <= maxBytes) {
      pinsWereTooLarge = false
      return
    }
    while (bytesOf() > maxBytes) {
      const victim = leastRecentlyUsed()
      if (victim === null) break
      observer.evicted(victim.opened.version)
      logger.info({ ...named(victim.opened.version), bytes: victim.opened.bytes() }, 'model evicted')
      void leave(victim)
    }
    const pinnedBytes = bytesOf(({ id }) => pinned.has(id))
    const areTooLarge = pinnedBytes > maxBytes
    if (areTooLarge && !pinsWereTooLarge) {
      logger.warn({ pinnedBytes, maxBytes }, 'versions that have to stay loaded take more memory than models may')
    }
    pinsWereTooLarge = areTooLarge
  }

  function leastRecentlyUsed(): Entry | null {
    const now = clock.monotonic()
    let found: Entry | null = null
    for (const entry of entries.values()) {
      if (entry.holds > 0 || entry.used === uses || pinned.has(entry.id)) continue
      if (entry.awaitedSince !== null && now - entry.awaitedSince < AWAITED_MS) continue
      if (found === null || entry.used < found.used) found = entry
    }
    return found
  }

  /** It is gone for callers at once; settles when it is closed. */
  function leave({ id, opened }: Entry): Promise<void> {
    entries.delete(id)
    sayResident()
    const done = closeVersion(opened).finally(() => leaving.delete(id))
    leaving.set(id, done)
    return done
  }

  async function closeVersion({ version, close }: OpenedVersion): Promise<void> {
    try {
      await close()
    } catch (error) {
      // nobody uses it any more; what could not be freed is gone with the process
      logger.error({ ...describeError(error), ...named(version) }, 'model could not be closed')
    }
  }

  function release(entry: Entry): void {
    entry.holds--
    if (entry.holds > 0) return
    if (closing === null) makeRoom()
    else onRelease()
  }

  async function closeAll(): Promise<void> {
    await Promise.allSettled(loading.values())
    while (entries.size > 0) {
      const free = [...entries.values()].filter(({ holds }) => holds === 0)
      const released = new Promise<void>((resolve) => {
        onRelease = resolve
      })
      await Promise.all(free.map(leave))
      if ([...entries.values()].every(({ holds }) => holds > 0) && entries.size > 0) await released
    }
    await Promise.all(leaving.values())
  }

  return {
    hold(id) {
      const entry = entries.get(id)
      if (entry === undefined || closing !== null) return null
      entry.holds++
      entry.used = ++uses
      entry.awaitedSince = null
      return held(entry, release)
    },
    has: (id) => closing === null && entries.has(id),
    load(id) {
      if (closing !== null)
        return Promise.reject(retryable('models_closing', `model version ${id}: models are closing`))
      const entry = entries.get(id)
      if (entry !== undefined) {
        entry.used = ++uses
        entry.awaitedSince = clock.monotonic()
        return Promise.resolve()
      }
      const running = loading.get(id)
      if (running !== undefined) return running
      const started = openVersion(id).finally(() => loading.delete(id))
      loading.set(id, started)
      return started
    },
    pin(ids) {
      pinned = new Set(ids)
      if (closing !== null) return
      makeRoom()
      sayResident()
    },
    close() {
      closing ??= closeAll()
      return closing
    },
  }
}

function held(entry: Entry, release: (entry: Entry) => void): HeldVersion {
  let isHeld = true
  return {
    version: entry.opened.version,
    release() {
      if (!isHeld) throw new Error(`model version ${entry.id} was released twice`)
      isHeld = false
      release(entry)
    },
  }
}

function named({ manifest }: ServedVersion): object {
  const { name, version, sha256, featureSet } = manifest
  return { model: name, version, sha256, featureSet: featureSet.digest }
}
