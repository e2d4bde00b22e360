import type { ComponentName, PortName, StackSettings } from '../settings.ts'

/** A program of the local stack: how it is started, and how one sees that it answers. */
export interface Component {
  readonly name: ComponentName
  readonly ports: readonly PortName[]
  /** Address for clients once it is ready. */
  address(settings: StackSettings): string
  /** Idempotent: makes what the program needs on disk, and says how to start it. */
  prepare(settings: StackSettings): Promise<LaunchCommand>
  /** Resolves when the component answers in its own protocol; rejects while it does not. */
  probe(settings: StackSettings): Promise<void>
}

interface LaunchCommand {
  readonly command: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

export const LOOPBACK = '127.0.0.1'
