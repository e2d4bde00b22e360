import { spawn } from 'node:child_process'
import path from 'node:path'

export type Role = 'component' | 'stage'

export interface Guard {
  watch(processGroup: number, role: Role): void
  forget(processGroup: number): void
  /** Resolves when the guard has ended, and with it whatever was still watched. */
  dismiss(): Promise<void>
}

/** A process apart that ends whatever is still watched once this one is gone, however that happened. */
export function startGuard(): Guard {
  const guard = spawn(process.execPath, [path.join(import.meta.dirname, 'guard.mjs')], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const ended = new Promise<void>((resolve) => guard.once('exit', () => resolve()))
  // a guard that is gone cannot be told; the processes are then unguarded, and everything else works on
  guard.stdin.on('error', () => {})
  const tell = (line: string): void => void guard.stdin.write(`${line}\n`)
  guard.unref()
  return {
    watch: (group, role) => tell(`+ ${group} ${role}`),
    forget: (group) => tell(`- ${group}`),
    async dismiss() {
      guard.ref()
      guard.stdin.end()
      await ended
    },
  }
}
