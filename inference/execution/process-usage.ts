import { readFile } from 'node:fs/promises'

/** What another process uses, as Linux tells it; null elsewhere, and when it cannot be told. Never blocks the thread. */
export interface ProcessUsage {
  readonly residentBytes: number
  readonly cpuMs: number
  /** Its main thread runs, or would if it had a processor. */
  readonly wantsCpu: boolean
}

/** USER_HZ, in which Linux counts for everyone, whatever its own clock. */
const TICK_MS = 10

export async function processUsage(pid: number): Promise<ProcessUsage | null> {
  if (process.platform !== 'linux') return null
  try {
    const [stat, status] = await Promise.all([
      readFile(`/proc/${pid}/stat`, 'latin1'),
      readFile(`/proc/${pid}/status`, 'latin1'),
    ])
    // the name before it is in parentheses and may hold anything; then state is field 3, utime 14, stime 15
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const resident = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
    return {
      residentBytes: Number(resident ?? 0) * 1_024,
      cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS,
      wantsCpu: fields[0] === 'R',
    }
  } catch {
    // it is gone, or no file can be opened: whoever asks goes by the clock then
    return null
  }
}
