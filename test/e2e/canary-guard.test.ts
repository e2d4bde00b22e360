import { expect, inject, test } from 'vitest'
import { entityBucket, shareSeed } from '../../inference/rollout/entity-bucket.ts'
import { DEFAULT_GUARDS } from '../../schemas/control/models.ts'
import { readModelManifest } from '../../schemas/pipeline/manifest.ts'
import { auditOf } from '../support/audit-of.ts'
import { addBlind, BLIND_SCORE, BLIND_TO } from '../support/blind-model.ts'
import { eventually } from '../support/eventually.ts'
import { type Decision, type RolloutRun, runRollout } from '../support/rollout-run.ts'
import { spawnNode } from '../support/spawn-process.ts'

// A candidate that answers NaN for one airport is taken out while events flow; what it could not answer is answered in the end.

const DEADLINE_MS = 120_000
/** A replay that the test ends. */
const MANY = 100_000
const WEIGHT = 5_000
const { env } = inject('stack')

test('a canary is taken out by a guard while it answers, and what it could not answer is replayed', {
  timeout: 600_000,
}, async () => {
  const rollout = await runRollout(env)
  const { run, folder, model, scratch, env: own, succeed, millrace, predictedMore, inForce, decided } = rollout
  const blind = addBlind(scratch, '2', model)
  await succeed('push', blind, '--pipeline', folder)
  await succeed('promote', `${model}/1`, '--bundled', '--wait')
  const flow = run.replay({ limit: MANY, rate: '300' })
  await predictedMore(500)

  const since = Date.now()
  const promoted = await succeed('promote', `${model}/2`, '--candidate', '--weight', '50%', '--wait')
  expect(promoted).toContain(`${model}/2: activated`)
  const out = await decided('rolled_back', since)
  const ended = await inForce({ production: '1', candidate: null }, out.at)
  await answeredSince(rollout, ended)
  await flow.stop()
  const { events } = await run.account()
  const settled = await run.settled(events, DEADLINE_MS)

  const activated = await logOf(rollout, since, out)
  // who asks is told the same
  expect(await millrace('weight', model, '10%')).toMatchObject({
    code: 1,
    output: expect.stringContaining('no candidate is served'),
  })
  const listed = (await succeed('list', model, '--json')).split('\n').filter((line) => line.startsWith('{'))
  expect(listed.map((line) => JSON.parse(line) as unknown)).toMatchObject([{ entry: { version: '2' }, roles: [] }])

  const { evidence } = out
  const letters = await lettersOf(rollout, ended)
  const [answers] = await run.clickhouse.rows<Record<'canary' | 'production', string>>(
    `SELECT countIf(model_version = '2') AS canary, countIf(model_version = '1' AND scored_at >= {at:Int64} / 1000) AS production
     FROM predictions FINAL WHERE pipeline = {pipeline:String}`,
    { pipeline: run.pipeline.name, at: activated },
  )
  expect(settled).toMatchObject({ predicted: events - letters.length, missing: 0, duplicates: 0 })
  expect(settled.deadLetters).toEqual([{ stage: 'inference', reason: 'output_not_finite', count: letters.length }])
  // what the guard had seen by then is part of what there is
  const { value, rows, baselineRows } = evidence as Readonly<Record<'value' | 'rows' | 'baselineRows', number>>
  expect(rows).toBeLessThanOrEqual(Number(answers?.canary) + letters.length)
  expect(baselineRows).toBeLessThanOrEqual(Number(answers?.production))
  expect(Number.isInteger(Number((value * rows).toFixed(6)))).toBe(true)
  expect(Math.round(value * rows)).toBeLessThanOrEqual(letters.length)
  // none but entities of the canary's share
  const seed = shareSeed(readModelManifest(blind).sha256)
  for (const { event_id, key } of letters) {
    const entity = Buffer.from(key ?? event_id)
    expect(entityBucket(entity, 0, entity.length, seed), event_id).toBeLessThan(WEIGHT)
  }
  await answeredByPeriod(rollout, activated, ended)

  const replay = spawnNode(['infra/cli/main.ts', 'dlq', 'replay', folder, '--reason', 'output_not_finite'], {
    env: own,
  })
  expect(await replay.exited, replay.output()).toBe(0)
  expect(replay.output()).toMatch(new RegExp(`replayed +${letters.length}\n`))
  await run.settled(events + letters.length, DEADLINE_MS)
  await answeredOnce(rollout, events, new Set(letters.map(({ event_id }) => event_id)))
  const { verdict, problems, totals } = await auditOf(run, env)
  expect({ verdict, problems }).toEqual({ verdict: 'exact', problems: [] })
  expect(totals).toMatchObject({
    events: { predicted: events, deadLettered: letters.length, missing: 0, double: 0, outOfOrder: 0 },
    replayed: { predicted: letters.length, deadLettered: 0, open: 0 },
  })
  expect(run.stage('inference').restarts).toBe(0)
})

/** The steps in the log: the candidate at its weight, then gone, once, with what the guard saw. Answers when it was activated, epoch ms. */
async function logOf({ run, model, said }: RolloutRun, since: number, out: Decision): Promise<number> {
  const entries = await run.clickhouse.rows<{ ms: string; value: string }>(
    `SELECT toUnixTimestamp64Milli(at) AS ms, value FROM control_log FINAL
     WHERE kind = 'rollout' AND name = {model:String} AND toUnixTimestamp64Milli(at) >= {since:Int64} ORDER BY kafka_offset`,
    { model, since },
  )
  const plan = { production: '1', shadow: null, guards: DEFAULT_GUARDS }
  const candidate = { version: '2', weight: WEIGHT, paused: false }
  expect(entries.map(({ value }) => JSON.parse(value) as unknown)).toMatchObject([
    { step: 'proposed', active: { production: '1', candidate: null }, proposed: { plan: { ...plan, candidate } } },
    { step: 'activated', active: { ...plan, candidate }, proposed: null },
    { step: 'rolled_back', active: { ...plan, candidate: null }, proposed: null },
  ])
  const instance = said('stage started')[0]?.instance
  expect(out).toMatchObject({ actor: instance, reason: 'guard: invalid_rate' })
  expect(out.evidence).toEqual({
    ...{ guard: 'invalid_rate', version: '2', against: '1', baseline: 0, limit: DEFAULT_GUARDS.invalidRate, instance },
    ...{ value: expect.any(Number), rows: expect.any(Number), baselineRows: expect.any(Number) },
    windowMs: expect.any(Number),
  })
  // a third of the flights leave from there
  expect(out.evidence?.['value']).toBeGreaterThan(0.2)
  expect(out.evidence?.['value']).toBeLessThan(0.5)
  for (const counted of ['rows', 'baselineRows']) {
    expect(out.evidence?.[counted]).toBeGreaterThanOrEqual(DEFAULT_GUARDS.minRows)
  }
  expect(said('a guard takes the version out')).toHaveLength(1)
  return Number(entries[1]?.ms)
}

/** Waits until events that came at `from`, epoch ms, or later are predicted, in every lane. */
async function answeredSince({ run }: RolloutRun, from: number): Promise<void> {
  await eventually(
    async () => {
      const [row] = await run.clickhouse.rows<Record<'rows' | 'lanes', string>>(
        `SELECT count() AS rows, uniqExact(kafka_partition) AS lanes FROM predictions FINAL
         WHERE pipeline = {pipeline:String} AND toUnixTimestamp64Milli(ingested_at) >= {from:Int64}`,
        { pipeline: run.pipeline.name, from },
      )
      expect(Number(row?.rows)).toBeGreaterThan(500)
      expect(Number(row?.lanes)).toBe((await run.admin.ranges(run.pipeline.event.topic)).length)
    },
    { deadlineMs: DEADLINE_MS },
  )
}

interface Letter {
  readonly event_id: string
  readonly key: string | null
}

/** What was dead-lettered, none of it of an event that came when the canary was out. */
async function lettersOf({ run }: RolloutRun, ended: number): Promise<readonly Letter[]> {
  const letters = await run.clickhouse.rows<Letter & { late: number }>(
    `SELECT event_id, key, origin_offset >= first AS late FROM dead_letters FINAL
     JOIN (SELECT kafka_partition, min(origin_offset) AS first FROM predictions FINAL
           WHERE pipeline = {pipeline:String} AND toUnixTimestamp64Milli(ingested_at) >= {ended:Int64}
           GROUP BY kafka_partition) AS later ON later.kafka_partition = partition
     WHERE pipeline = {pipeline:String}`,
    { pipeline: run.pipeline.name, ended },
  )
  expect(letters.length).toBeGreaterThan(0)
  expect(letters.filter(({ late }) => late !== 0)).toEqual([])
  return letters
}

/** Production alone before the canary and after it; what the canary answered in between is what it can. */
async function answeredByPeriod({ run }: RolloutRun, activated: number, ended: number): Promise<void> {
  const rows = await run.clickhouse.rows(
    `SELECT multiIf(toUnixTimestamp64Milli(scored_at) < {activated:Int64}, 'before',
                    toUnixTimestamp64Milli(ingested_at) >= {ended:Int64}, 'after', 'between') AS period,
            role, model_version AS version, count() > 150 AS enough,
            version = '2' AND (segment = {airport:String} OR score != {score:Float32}) AS wrong
     FROM predictions FINAL WHERE pipeline = {pipeline:String}
     GROUP BY period, role, version, wrong ORDER BY period, role`,
    { pipeline: run.pipeline.name, activated, ended, airport: BLIND_TO, score: BLIND_SCORE },
  )
  const byProduction = { role: 'primary', version: '1', enough: 1, wrong: 0 }
  expect(rows).toEqual([
    { period: 'after', ...byProduction },
    { period: 'before', ...byProduction },
    { period: 'between', role: 'canary', version: '2', enough: 1, wrong: 0 },
    { period: 'between', ...byProduction },
  ])
}

/** Each event has one answer; what the canary could not answer, that of production. */
async function answeredOnce({ run }: RolloutRun, events: number, replayed: ReadonlySet<string>): Promise<void> {
  const answers = await run.clickhouse.rows<{ event_id: string; segment: string; answer: string }>(
    `SELECT event_id, segment, concat(role, ' ', model_version) AS answer FROM predictions FINAL WHERE pipeline = {pipeline:String}`,
    { pipeline: run.pipeline.name },
  )
  expect(answers).toHaveLength(events)
  expect(new Set(answers.map(({ event_id }) => event_id)).size).toBe(events)
  const ofReplayed = answers.filter(({ event_id }) => replayed.has(event_id))
  expect(ofReplayed).toHaveLength(replayed.size)
  for (const one of ofReplayed) expect(one).toMatchObject({ segment: BLIND_TO, answer: 'primary 1' })
}
