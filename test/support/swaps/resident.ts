import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/** Resident memory of a process and of all below it, MiB; 0 when it is gone. */
export async function residentMb(pid: number): Promise<number> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,rss='])
  const processes = stdout
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number) as [pid: number, parent: number, kilobytes: number])
  const below = (root: number): number =>
    processes.reduce((sum, [id, parent, kilobytes]) => {
      if (id === root) return sum + kilobytes
      return parent === root ? sum + below(id) : sum
    }, 0)
  return below(pid) / 1_024
}
