/**
 * `npm run chaos -- --events 1000000 --kills 200 [--seed S] [--minutes M] [--recovery N]`: the flights pipeline on a stack
 * of its own, while its stages are killed and stopped at random places, brokers and ClickHouse are killed and processes
 * come and go; then the ledger. The seed repeats what is planned, not how the processes' steps fall between each other.
 * The last line is one JSON object; the exit status is 0 when every record has exactly one end.
 *
 * With `--recovery N` nothing but N kills happens, one at a time: how long until every lane moves again.
 */
import { parseArgs } from 'node:util'
import { measureRecovery } from '../support/chaos/measure-recovery.ts'
import { randomPlan } from '../support/chaos/plan.ts'
import { type ChaosReport, runChaos } from '../support/chaos/run-chaos.ts'
import { seededRandom } from '../support/seeded-random.ts'

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '1000000' },
    kills: { type: 'string', default: '200' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    minutes: { type: 'string', default: '60' },
    partitions: { type: 'string', default: '6' },
    'session-ms': { type: 'string' },
    recovery: { type: 'string' },
  },
})
const whole = (name: string, text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`--${name} must be a whole number, not ${text}`)
  return value
}
const seed = whole('seed', values.seed)
const partitions = whole('partitions', values.partitions)
const random = seededRandom(seed)
const startedAt = performance.now()
const say = (line: string): void => {
  process.stdout.write(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(7)} s  ${line}\n`)
}

say(`seed ${seed}`)
if (values.recovery === undefined) {
  const kills = whole('kills', values.kills)
  const report = await runChaos({
    plan: randomPlan(random.fork('plan'), kills),
    events: whole('events', values.events),
    random,
    partitions,
    sessionTimeoutMs: whole('session-ms', values['session-ms'] ?? '2000'),
    maxMinutes: whole('minutes', values.minutes),
    say,
  })
  const summary = summaryOf(report)
  process.stdout.write(`${JSON.stringify({ seed, ...summary })}\n`)
  if (!report.settled || !report.verdict.exact) process.exitCode = 1
} else {
  const session = values['session-ms']
  const measured = await measureRecovery({
    kills: whole('recovery', values.recovery),
    random,
    partitions,
    sessionTimeoutMs: session === undefined ? null : whole('session-ms', session),
    say,
  })
  process.stdout.write(`${JSON.stringify({ seed, ...measured })}\n`)
  if (!measured.verdict.exact) process.exitCode = 1
}

function summaryOf({ faults, components, unexpected, ...rest }: ChaosReport): object {
  const count = (of: readonly string[]): Readonly<Record<string, number>> => {
    const counts: Record<string, number> = {}
    for (const name of of.toSorted()) counts[name] = (counts[name] ?? 0) + 1
    return counts
  }
  const stops = faults.filter(({ fault }) =>
    fault.kind === 'at-point' ? fault.order.signal === 'STOP' : fault.kind === 'freeze',
  )
  return {
    ...rest,
    kills: faults.length,
    zombies: stops.length,
    byStage: count(faults.map(({ stage }) => stage)),
    atPoints: count(
      faults.flatMap(({ fault, reached }) => (fault.kind === 'at-point' && reached ? [fault.order.point] : [])),
    ),
    elsewhere: faults.filter(({ fault, reached }) => fault.kind !== 'at-point' || !reached).length,
    components: count(components),
    unexpected: count(unexpected.map(({ stage, code, said }) => `${stage} ${code}: ${said.slice(0, 200)}`)),
  }
}
