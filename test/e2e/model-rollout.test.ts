import path from 'node:path'
import { expect, inject, test } from 'vitest'
import { auditOf } from '../support/audit-of.ts'
import { eventually } from '../support/eventually.ts'
import { type RolloutRun, runRollout } from '../support/rollout-run.ts'
import { addShifted } from '../support/shifted-model.ts'
import { spawnNode } from '../support/spawn-process.ts'

// A user's way through a model's rollout, on the real stack; what came of it is read from ClickHouse.

const EVENTS = 2_000
/** A replay that the test ends. */
const MANY = 100_000
const SHARE_SLACK = 0.03
const DEADLINE_MS = 120_000
const { env } = inject('stack')

test('promoted, rolled back, a canary, a guard, a shadow, and a promotion that stalls', {
  timeout: 1_200_000,
}, async () => {
  const rollout = await runRollout(env)
  const { run, model, scratch, succeed, folder } = rollout
  // each has scores of its own: 4 is far off
  const shifts = { '2': 0.05, '3': 0.1, '4': 3 }
  for (const [version, by] of Object.entries(shifts)) {
    const pushed = await addShifted(scratch, version, { model, by })
    expect(await succeed('push', pushed, '--pipeline', folder)).toContain(`registered  ${model}/${version}`)
  }
  expect(await succeed('promote', `${model}/1`, '--bundled', '--wait')).toContain(`${model}/1: activated`)

  await promotedAndRolledBack(rollout)
  const canary = await canaries(rollout)
  await takenOutByGuard(rollout)
  await shadowed(rollout, canary)
  await stalled(rollout)

  // the last labels may be on their way
  const { events } = await eventually(
    async () => {
      const { verdict, problems, totals } = await auditOf(run, env)
      expect({ verdict, problems }).toEqual({ verdict: 'exact', problems: [] })
      return totals
    },
    { deadlineMs: DEADLINE_MS },
  )
  expect(events).toMatchObject({ predicted: events.events, deadLettered: 0 })
  expect(run.stage('inference').restarts).toBe(0)
})

async function promotedAndRolledBack(rollout: RolloutRun): Promise<void> {
  const { run, model, succeed, predictedMore, inForce, decided } = rollout
  const since = Date.now()
  const flow = run.replay({ limit: MANY, rate: '300' })
  await predictedMore(500)
  expect(await succeed('promote', `${model}/2`, '--wait')).toContain(`${model}/2: activated`)
  const activated = await decided('activated', since)
  expect(activated.reason).toBe('all 1 members are ready')
  const serves = await inForce({ production: '2' }, activated.at)
  await predictedMore(500)
  expect(await succeed('rollback', model)).toContain('production 1')
  const back = await decided('rolled_back', since)
  await predictedMore(500)
  await flow.stop()
  await settled(rollout)

  const lanes = await run.clickhouse.rows(
    `SELECT arrayCompact(arrayMap(row -> row.2, arraySort(groupArray((origin_offset, model_version))))) AS versions
     FROM predictions FINAL WHERE ${SINCE} GROUP BY kafka_partition`,
    { pipeline: run.pipeline.name, since },
  )
  expect(lanes).toEqual(lanes.map(() => ({ versions: ['1', '2', '1'] })))
  const [row] = await run.clickhouse.rows(
    `SELECT countIf(model_version = '1') AS wrong, count() > 500 AS enough, min(scored_at) >= {activated:Int64} / 1000 AS causal
     FROM predictions FINAL WHERE ${SINCE} AND toUnixTimestamp64Milli(scored_at) < {back:Int64}`,
    { pipeline: run.pipeline.name, since: serves, activated: activated.at, back: back.at },
  )
  expect(row).toEqual({ wrong: '0', enough: 1, causal: 1 })
}

/** Who the canary answered at 30 %. */
async function canaries(rollout: RolloutRun): Promise<ReadonlySet<string>> {
  const { model, succeed, inForce } = rollout
  const since = Date.now()
  const shareInForce = (weight: number) =>
    inForce({ candidate: expect.objectContaining({ version: '3', weight }) }, since)
  await succeed('promote', `${model}/3`, '--candidate', '--weight', '10%', '--wait')
  await shareInForce(1_000)
  const first = await rolesOfReplay(rollout)
  expect(Math.abs(shareOf(first) - 0.1)).toBeLessThan(SHARE_SLACK)
  expect(await rolesOfReplay(rollout)).toEqual(first)

  expect(await succeed('weight', model, '30%')).toContain('candidate 3 at 30%')
  await shareInForce(3_000)
  const raised = await rolesOfReplay(rollout)
  expect(Math.abs(shareOf(raised) - 0.3)).toBeLessThan(SHARE_SLACK)
  for (const event of canariesIn(first)) expect(raised.get(event)).toBe('canary 3')
  return canariesIn(raised)
}

async function takenOutByGuard(rollout: RolloutRun): Promise<void> {
  const { run, model, succeed, predictedMore, said, inForce, decided } = rollout
  const before = Date.now()
  // its scores are judged where both versions score the same records
  await succeed('weight', model, '0%')
  await succeed('promote', `${model}/4`, '--shadow', '--share', '100%', '--wait')
  const judged = {
    candidate: expect.objectContaining({ weight: 0 }),
    shadow: expect.objectContaining({ version: '4' }),
  }
  await inForce(judged, before)
  const since = Date.now()
  const flow = run.replay({ limit: MANY, rate: '300' })
  const out = await decided('rolled_back', since)
  const [started] = said('stage started')
  expect(out).toMatchObject({
    actor: started?.instance,
    reason: 'guard: score_distribution',
    evidence: { guard: 'score_distribution', version: '4', against: '1', limit: 0.25, instance: started?.instance },
  })
  expect(out.evidence?.['value']).toBeGreaterThan(1)
  const without = await inForce({ production: '1', shadow: null }, out.at)
  await predictedMore(500)
  await flow.stop()
  await settled(rollout)
  const versions = (from: number) =>
    run.clickhouse.rows(`SELECT DISTINCT role, model_version FROM predictions FINAL WHERE ${SINCE} ORDER BY role`, {
      pipeline: run.pipeline.name,
      since: from,
    })
  expect(await versions(since)).toEqual([{ role: 'primary', model_version: '1' }])
  expect(await versions(without)).toEqual([{ role: 'primary', model_version: '1' }])
}

async function shadowed(rollout: RolloutRun, canary: ReadonlySet<string>): Promise<void> {
  const { run, model, succeed, inForce } = rollout
  const before = Date.now()
  await succeed('promote', `${model}/3`, '--shadow', '--share', '50%', '--wait')
  await inForce({ shadow: expect.objectContaining({ version: '3', share: 5_000 }) }, before)
  const since = Date.now()
  const roles = await rolesOfReplay(rollout)
  expect(new Set(roles.values())).toEqual(new Set(['primary 1']))

  const view = `${run.pipeline.name.replaceAll('-', '_')}_versions`
  const parameters = { pipeline: run.pipeline.name, since }
  // what is shown to it is written apart from the predictions, and may be on its way
  await eventually(
    async () => {
      const rows = await run.clickhouse.rows<{ event_id: string }>(
        `SELECT event_id FROM shadow_predictions FINAL WHERE ${SINCE} AND role = 'shadow' AND model_version = '3'`,
        parameters,
      )
      expect(Math.abs(rows.length / EVENTS - 0.5)).toBeLessThan(SHARE_SLACK)
      const shown = new Set(rows.map(({ event_id }) => event_id))
      // the same hash decides: who is in a smaller share is in a larger one
      expect([...canary].filter((event) => !shown.has(event))).toEqual([])
      const [pairs] = await run.clickhouse.rows(
        `SELECT count() AS pairs, uniqExact(event_id) AS events, countIf(score_difference > 0) AS higher,
                uniqExact((model_version, shadow_version)) AS kinds
         FROM ${view} WHERE toUnixTimestamp64Milli(ingested_at) >= {since:Int64}`,
        parameters,
      )
      const all = String(shown.size)
      expect(pairs).toEqual({ pairs: all, events: all, higher: all, kinds: '1' })
    },
    { deadlineMs: DEADLINE_MS },
  )
}

async function stalled(rollout: RolloutRun): Promise<void> {
  const { run, model, env: own, scratch, succeed, millrace, said, decided } = rollout
  await succeed('rollback', model)
  const elsewhere = {
    MILLRACE_MODEL_STORE: path.join(scratch, 'empty'),
    MILLRACE_MODEL_CACHE: path.join(scratch, 'other-cache'),
  }
  const second = spawnNode(['inference/main.ts'], { env: { ...own, ...elsewhere } })
  await eventually(() => expect(second.output()).toContain('"stage started"'), { deadlineMs: DEADLINE_MS })
  const instance = /"instance":"([^"]+)"/.exec(second.output())?.[1]
  await eventually(async () => expect(await run.admin.members(`${run.pipeline.name}.inference`)).toContain(instance), {
    deadlineMs: DEADLINE_MS,
  })

  const since = Date.now()
  const { code, output } = await millrace('promote', `${model}/2`, '--wait', '--deadline', '15s')
  expect({ code, output }).toEqual({ code: 2, output: expect.stringContaining(`${model}/2: stalled`) })
  expect(output).toContain(instance)
  expect((await decided('stalled', since)).evidence).toEqual({
    members: 2,
    notReady: [instance],
    groups: [`${run.pipeline.name}.inference`],
  })
  // what processes log comes by another way than what they write
  await eventually(
    () => {
      expect(second.output()).toMatch(/model version not loaded/)
      const stall = { level: 40, code: 'rollout_stalled', evidence: { notReady: [instance] } }
      expect(said('rollout stalled').at(-1)).toMatchObject(stall)
    },
    { deadlineMs: DEADLINE_MS },
  )

  expect(new Set((await rolesOfReplay(rollout)).values())).toEqual(new Set(['primary 1']))
  second.kill('SIGTERM')
  expect(await second.exited).toBe(0)
}

const SINCE = 'pipeline = {pipeline:String} AND toUnixTimestamp64Milli(ingested_at) >= {since:Int64}'

/** Who answered each event of another replay of the same ones: role and version by event id. */
async function rolesOfReplay(rollout: RolloutRun): Promise<ReadonlyMap<string, string>> {
  const { run } = rollout
  const since = Date.now()
  expect(await run.replay({ limit: EVENTS, rate: 'max' }).exited).toBe(0)
  await settled(rollout)
  const rows = await run.clickhouse.rows<{ event_id: string; answer: string }>(
    `SELECT event_id, concat(role, ' ', model_version) AS answer FROM predictions FINAL WHERE ${SINCE} ORDER BY event_id`,
    { pipeline: run.pipeline.name, since },
  )
  expect(rows).toHaveLength(EVENTS)
  return new Map(rows.map(({ event_id, answer }) => [event_id, answer]))
}

/** Waits until every event has its prediction. A label of an event that is replayed takes the place of the one before it. */
async function settled({ run }: RolloutRun): Promise<void> {
  await eventually(
    async () => {
      const { events, predicted, missing, duplicates, deadLetters } = await run.account()
      expect({ predicted, missing, duplicates, deadLetters }).toEqual({
        predicted: events,
        missing: 0,
        duplicates: 0,
        deadLetters: [],
      })
    },
    { deadlineMs: DEADLINE_MS },
  )
}

function canariesIn(roles: ReadonlyMap<string, string>): ReadonlySet<string> {
  return new Set([...roles].filter(([, answer]) => answer === 'canary 3').map(([event]) => event))
}

function shareOf(roles: ReadonlyMap<string, string>): number {
  return canariesIn(roles).size / roles.size
}
