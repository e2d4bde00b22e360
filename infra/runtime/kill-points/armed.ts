import { writeSync } from 'node:fs'
import { KILL_POINTS, type KillPoint } from './kill-points.ts'

/*
 * What `#kill-points` means under `--conditions=millrace-test`. It is not part of the build.
 *
 *   MILLRACE_KILL_POINT=<name>[:<nth>][:KILL|STOP]     the first time and KILL unless it says otherwise
 */

const STDERR = 2

interface Arming {
  readonly point: KillPoint
  readonly nth: number
  readonly signal: 'SIGKILL' | 'SIGSTOP'
}

const arming = parse(process.env['MILLRACE_KILL_POINT'] ?? '')
let passed = 0

/**
 * Kills or stops this process the nth time it comes to the armed point, once, and says so on stderr before, as a line of
 * JSON `{"killPoint", "nth", "signal", "pid"}`. A stopped process goes on from here when it is continued.
 */
export function killPoint(point: KillPoint): void {
  if (arming === null || point !== arming.point) return
  passed++
  if (passed !== arming.nth) return
  const { nth, signal } = arming
  writeSync(STDERR, `${JSON.stringify({ killPoint: point, nth, signal, pid: process.pid })}\n`)
  process.kill(process.pid, signal)
}

function parse(text: string): Arming | null {
  if (text === '') return null
  const [, point = '', nth = '1', signal = 'KILL'] = /^([a-z-]+)(?::(\d+))?(?::(KILL|STOP))?$/.exec(text) ?? []
  if (!Object.hasOwn(KILL_POINTS, point) || Number(nth) < 1) {
    throw new Error(`MILLRACE_KILL_POINT must be <name>[:<nth>][:KILL|STOP], not ${JSON.stringify(text)}`)
  }
  return { point: point as KillPoint, nth: Number(nth), signal: signal === 'STOP' ? 'SIGSTOP' : 'SIGKILL' }
}
