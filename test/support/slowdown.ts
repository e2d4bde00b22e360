import { spawnSync } from 'node:child_process'
import { availableParallelism, loadavg } from 'node:os'

/** What the start of a process takes at most on an idle machine. */
const START_MS = 80
/** Threads that want each processor, from which on everything on a machine waits for one. */
const CROWDED = 4

/**
 * By how much longer everything takes where a machine is slow or others want it, too; 1 elsewhere, so that a limit in
 * time is what it says. Looked at now: whoever measures looks at it when what is measured is over.
 */
export function slowdown(): number {
  const since = performance.now()
  spawnSync(process.execPath, ['-e', '0'])
  const startedIn = performance.now() - since
  return Math.max(1, startedIn / START_MS, (loadavg()[0] ?? 0) / availableParallelism() / CROWDED)
}
