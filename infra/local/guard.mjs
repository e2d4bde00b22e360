// Told process ids on standard input: `+pid` began, `-pid` ended. At end of file, which comes whatever became of the
// supervisor, it ends the process groups that are left, the youngest first.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const GRACE_MS = 8_000
const POLL_MS = 50

/** @type {Set<number>} in the order in which they began */
const groups = new Set()

// a Ctrl-C meant for the supervisor must not take its guard
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {})

/**
 * @param {number} pid
 * @param {NodeJS.Signals | 0} signal 0 = only look whether it is there
 */
function signalGroup(pid, signal) {
  try {
    process.kill(-pid, signal)
    return true
  } catch {
    return false // gone already
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const pid = Number(line.slice(1))
  if (line.startsWith('+')) groups.add(pid)
  else groups.delete(pid)
}

const left = [...groups].reverse()
for (const pid of left) signalGroup(pid, 'SIGTERM')
const deadline = Date.now() + GRACE_MS
while (left.some((pid) => signalGroup(pid, 0)) && Date.now() < deadline) await sleep(POLL_MS)
for (const pid of left) signalGroup(pid, 'SIGKILL')
