// Told process groups on standard input: `+ <group> <role>` began, `- <group>` ended. At end of file, which comes whatever
// became of the supervisor, it ends the groups that are left: the stages, and once those are gone the components under them.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const GRACE_MS = 5_000
const POLL_MS = 50

/** @type {Map<number, string>} */
const groups = new Map()

// a Ctrl-C meant for the supervisor must not take its guard
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {})

/**
 * @param {number} group
 * @param {NodeJS.Signals | 0} signal 0 = only look whether it is there
 */
function signalGroup(group, signal) {
  try {
    process.kill(-group, signal)
    return true
  } catch {
    return false // gone already
  }
}

/** @param {string} role */
async function end(role) {
  const left = [...groups.keys()].filter((group) => groups.get(group) === role)
  for (const group of left) signalGroup(group, 'SIGTERM')
  const deadline = performance.now() + GRACE_MS
  while (left.some((group) => signalGroup(group, 0)) && performance.now() < deadline) await sleep(POLL_MS)
  for (const group of left) signalGroup(group, 'SIGKILL')
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, group, role = ''] = line.split(' ')
  if (verb === '+') groups.set(Number(group), role)
  else groups.delete(Number(group))
}

await end('stage')
await end('component')
