import { expect, test } from 'vitest'
import { KILL_POINTS } from '../../infra/runtime/kill-points/kill-points.ts'
import { pointsOf, randomPlan, STAGES, shortPlan } from '../support/chaos/plan.ts'
import { runChaos } from '../support/chaos/run-chaos.ts'
import { seededRandom } from '../support/seeded-random.ts'

const SEED = 20_130_101
const EVENTS = 20_000
const POINTS = Object.keys(KILL_POINTS)

test('killed at every point, stopped as zombies, without broker and ClickHouse: each record has exactly one end', {
  timeout: 1_200_000,
}, async () => {
  const random = seededRandom(SEED)
  const said: string[] = []
  const report = await runChaos({
    plan: shortPlan(random.fork('plan')),
    events: EVENTS,
    random,
    partitions: 4,
    sessionTimeoutMs: 2_000,
    maxMinutes: 15,
    say: (line) => said.push(line),
  })
  const reached = report.faults.flatMap(({ fault, reached: at }) =>
    fault.kind === 'at-point' && at ? [fault.order.point] : [],
  )
  expect(reached.toSorted(), said.join('\n')).toEqual(POINTS.toSorted())
  expect(report.components.toSorted()).toEqual(['clickhouse-kill', 'kafka-kill'])
  const { verdict } = report
  expect(verdict.examples).toEqual([])
  expect(verdict).toMatchObject({ exact: true, labelsMissing: 0 })
  expect(verdict.events).toBeGreaterThanOrEqual(EVENTS)
  expect(report.settled).toBe(true)
})

test('a plan is repeated by its seed, and has every point somewhere', () => {
  const plan = (seed: number) => randomPlan(seededRandom(seed), 300)
  expect(plan(1)).toEqual(plan(1))
  expect(plan(1)).not.toEqual(plan(2))
  expect([...new Set(STAGES.flatMap((stage) => pointsOf(stage)))].sort()).toEqual(POINTS.toSorted())
  const planned = Object.values(plan(1).stages).flat()
  expect(planned.length).toBe(300)
  const at = planned.flatMap((fault) => (fault.kind === 'at-point' ? [fault.order.point] : []))
  expect([...new Set(at)].sort()).toEqual(POINTS.toSorted())
})
