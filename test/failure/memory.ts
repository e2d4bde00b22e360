/**
 * `npm run bench:memory -- --minutes 10 [--rate 4000] [--limit-mb 512]`: the flights pipeline at full input while ClickHouse
 * is down for so long. The memory of each stage is looked at every second, until everything is caught up when ClickHouse is
 * back, and the ledger is kept. The last line is one JSON object; the exit status is 0 when no stage was above the
 * limit and every record has exactly one end.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createScope } from '../../infra/runtime/lifecycle/scope.ts'
import { silentLogger } from '../../infra/runtime/telemetry/logger.ts'
import { deploy } from '../support/chaos/deployment.ts'
import { STAGES } from '../support/chaos/plan.ts'
import { watchProgress } from '../support/chaos/progress.ts'
import { seededRandom } from '../support/seeded-random.ts'
import type { DrivenStage, StageRun } from '../support/stage-driver.ts'
import { startTestStack } from '../support/test-stack.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    rate: { type: 'string', default: '4000' },
    'limit-mb': { type: 'string', default: '512' },
    partitions: { type: 'string', default: '6' },
  },
})
const outageMs = Number(values.minutes) * 60_000
const rate = Number(values.rate)
const limitMb = Number(values['limit-mb'])
const partitions = Number(values.partitions)
if (![outageMs, rate, limitMb, partitions].every((value) => value > 0)) throw new RangeError('every option is above 0')

const LOGS = path.resolve(import.meta.dirname, '../../.millrace/test-logs', `memory-${process.pid}`)
const SAMPLE_MS = 1_000
const STEP_MS = 100
const WARM_MS = 20_000
const QUIET_MS = 120_000
const SAID_EVERY = 10

const startedAt = performance.now()
const say = (line: string): void => {
  process.stdout.write(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(7)} s  ${line}\n`)
}

/** Resident memory of a process, MiB, as the kernel has it. */
function residentMb(pid: number): number {
  const [, kilobytes = '0'] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) / 1_024
}

const roundedMb = (most: Record<DrivenStage, number>) =>
  Object.fromEntries(STAGES.map((stage) => [stage, Math.round(most[stage])]))

const scope = createScope(silentLogger)
try {
  const stack = await scope.start('stack', startTestStack)
  const random = seededRandom(1)
  const deployment = await deploy(scope, stack, { partitions, random, logDir: LOGS, env: {}, say })
  const { driver, feed, pipeline, admin } = deployment
  const runs = Object.fromEntries(STAGES.map((stage) => [stage, driver.start(stage)])) as Record<DrivenStage, StageRun>
  const progress = watchProgress(pipeline, admin, SAMPLE_MS)
  await scope.start('progress', async () => ({ value: null, stop: () => progress.stop() }))
  const ended: string[] = []
  for (const stage of STAGES)
    void runs[stage].exited.then((code) => ended.push(`${stage} ${code}: ${runs[stage].lastError}`))

  const over = new AbortController()
  const caughtUp = new AbortController()
  const most: Record<DrivenStage, number> = { processors: 0, inference: 0, sinks: 0 }
  const sampling = (async () => {
    for (let sample = 1; !caughtUp.signal.aborted; sample++) {
      const now = STAGES.map((stage) => [stage, ended.length === 0 ? residentMb(runs[stage].pid) : 0] as const)
      for (const [stage, mb] of now) most[stage] = Math.max(most[stage], mb)
      if (sample % SAID_EVERY === 0)
        say(`${feed.sent} events; ${now.map(([stage, mb]) => `${stage} ${Math.round(mb)} MiB`).join(', ')}`)
      await delay(SAMPLE_MS)
    }
  })()
  const feeding = (async () => {
    const since = performance.now()
    const before = feed.sent
    while (!over.signal.aborted) {
      const due = before + (rate * (performance.now() - since)) / 1_000
      if (feed.sent < due) await feed.send(Math.ceil(due - feed.sent), new AbortController().signal)
      await delay(STEP_MS)
    }
  })()

  await delay(WARM_MS)
  say('ClickHouse goes')
  await stack.component('clickhouse')?.stop()
  await delay(outageMs)
  say('ClickHouse comes')
  stack.component('clickhouse')?.start()
  await stack.ready('clickhouse')
  const back = performance.now()
  const firstAfterMs = await Promise.race([progress.moved('sinks'), delay(QUIET_MS, null)])
  over.abort()
  await feeding
  const mostAway = roundedMb(most)
  const settled = await deployment.settled(QUIET_MS)
  const caughtUpMs = Math.round(performance.now() - back)
  caughtUp.abort()
  await sampling
  const after = Object.fromEntries(STAGES.map((stage) => [stage, Math.round(residentMb(runs[stage].pid))]))
  await Promise.all(STAGES.map((stage) => runs[stage].stop()))
  const verdict = await deployment.ledger()
  const underLimit = STAGES.every((stage) => most[stage] <= limitMb)
  const result = {
    outageMinutes: outageMs / 60_000,
    rate,
    limitMb,
    underLimit,
    mostWhileAwayMb: mostAway,
    mostMb: roundedMb(most),
    afterMb: after,
    firstAfterMs,
    caughtUpMs,
    settled,
    verdict,
  }
  process.stdout.write(`${JSON.stringify(result)}\n`)
  if (!underLimit || !settled || !verdict.exact) process.exitCode = 1
} finally {
  await scope.close()
}
