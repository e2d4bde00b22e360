import { execFileSync } from 'node:child_process'

/** The child of the only process executor that a process has; this one unless another is named. */
export function childPid(parentPid: number = process.pid): number {
  const processes = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' }).split('\n')
  const children = processes
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, ...args]) => Number(parent) === parentPid && args.join(' ').includes('executor-child'))
  if (children.length !== 1) throw new Error(`there are ${children.length} children`)
  return Number(children[0]?.[0])
}
