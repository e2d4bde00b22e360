import type { ServedVersion } from '../rollout/routes.ts'

/**
 * The versions that are loaded in this process. Above its memory budget the least recently used one is closed that is neither
 * pinned nor held; it is loaded again on demand, while the others serve on. What they take is asked again whenever one comes,
 * goes or is released, and with `pin`.
 */
export interface VersionCache {
  /** The version, which stays loaded until `release`; null when it is not loaded. */
  hold(id: string): HeldVersion | null
  /** Whether it is loaded; to ask is no use of it. */
  has(id: string): boolean
  /** Loads a version beside the others; calls for one that is being loaded share it. Rejects with what `open` rejects with. */
  load(id: string): Promise<void>
  /** Exactly these stay loaded whatever the budget, once they are. */
  pin(ids: Iterable<string>): void
  /** Waits until nothing is held, and closes all. */
  close(): Promise<void>
}

export interface HeldVersion {
  readonly version: ServedVersion
  /** Once. */
  release(): void
}

export interface OpenedVersion {
  readonly version: ServedVersion
  /** Memory that it takes now, as far as known. */
  bytes(): number
  /**
   * Whether it stays, within the budget, for whoever wants it again while it is neither pinned nor held; otherwise it is closed at
   * once then.
   */
  readonly staysIdle: boolean
  /** Called when nobody holds it. */
  close(): Promise<void>
}
