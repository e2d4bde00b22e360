import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ClickHouseClient } from '../../infra/runtime/clickhouse/clickhouse-client.ts'
import { auditPanes } from '../../sinks/commands/audit-panes.ts'
import { storedLanes } from '../../sinks/drift/panes/pane-progress.ts'
import { reconcilePanes } from '../../sinks/drift/panes/reconcile.ts'
import { storeProfile } from '../../sinks/drift/profiles/store-profile.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import {
  entryOf,
  HOUR,
  MINUTE,
  MONITOR,
  type StoredPrediction,
  storePredictions,
  usual,
  usualProfile,
} from '../support/drift-data.ts'
import { driftPart, paneTotals } from '../support/drift-part.ts'
import { seededRandom } from '../support/seeded-random.ts'

// Panes add up to the predictions, each once, whatever was delivered twice, late or again, and wherever the watch was cut off.

const START = Date.UTC(2026, 0, 5)
const content = usualProfile(5_000)

let database: TestDatabase
let clickhouse: ClickHouseClient

beforeAll(async () => {
  database = await migratedDatabase()
  clickhouse = database.client
})
afterAll(() => database.drop())

/** Offsets [from, to) of both partitions; a row each quarter of a minute. */
function rows(from: number, to: number, seed = 1): StoredPrediction[] {
  const random = seededRandom(seed)
  return Array.from({ length: to - from }, (_, index) => from + index).flatMap((offset) =>
    [0, 1].map((partition) => ({
      ...usual(random),
      ...{ at: START + offset * 15_000, partition, offset, segment: random.pick(['EWR', 'JFK', '']) },
      version: offset < 300 ? '1' : '2',
      role: random.chance(0.1) ? ('canary' as const) : ('primary' as const),
    })),
  )
}

function profileFor(pipeline: string) {
  return entryOf(content, 'spring', pipeline)
}

async function reconciled(profile: ReturnType<typeof entryOf>) {
  const of = { ...profile, ...MONITOR }
  return await reconcilePanes(clickhouse, of, await storedLanes(clickhouse, profile.pipeline), null)
}

test('redelivered, reprocessed and late predictions count once, in the pane of their event', async () => {
  const profile = profileFor('redelivered')
  const { pipeline } = profile
  const { catchUp, said } = driftPart(clickhouse, profile)
  const all = rows(0, 600)
  await storePredictions(clickhouse, all.slice(0, 800), { pipeline })
  await catchUp()
  expect(await paneTotals(clickhouse, profile)).toMatchObject({ predictions: 800, counted: [800] })
  const panes = said.panes

  // some once more as they were, and some scored again, later and otherwise
  await storePredictions(clickhouse, all.slice(100, 300), { pipeline })
  const again = all.slice(200, 500).map((row) => ({ ...row, version: '9', score: 0.999 }))
  await storePredictions(clickhouse, again, { pipeline, copy: 10_000 })
  await catchUp()
  expect(said.panes).toBeGreaterThan(panes)
  expect((await paneTotals(clickhouse, profile)).predictions).toBe(800)

  // an hour that was over long ago gets more, behind everything else in the topic
  const late = rows(20_000, 20_050, 3).map((row) => ({ ...row, at: START + 7 * MINUTE }))
  await storePredictions(clickhouse, late, { pipeline })
  await catchUp()
  const { inSegments, ...all900 } = await paneTotals(clickhouse, profile)
  expect(all900).toEqual({ predictions: 900, counted: [900] })
  expect(inSegments.counted).toEqual([inSegments.predictions])
  expect(
    await clickhouse.rows(
      `SELECT DISTINCT toFloat64(sum(n)) AS n FROM feature_panes FINAL WHERE pipeline = {pipeline:String} AND segment = '*'
     AND pane = toDateTime({pane:UInt32}, 'UTC') GROUP BY subject, position`,
      { pipeline, pane: (START + 5 * MINUTE) / 1_000 },
    ),
  ).toEqual([{ n: 140 }])
  expect(await reconciled(profile)).toEqual({ panes: expect.any(Number), predictions: 900, faults: [] })
  expect(said.faults).toEqual([])
  expect(await auditPanes(clickhouse, pipeline)).toBeNull()
  await storeProfile(clickhouse, { entry: profile, revision: 1, actor: 'a test', reason: 'why', at: 0 })
  expect(await auditPanes(clickhouse, pipeline)).toMatchObject({ profile: 'spring', predictions: 900, faults: [] })
  // nothing new: nothing is computed
  const computed = said.panes
  await catchUp()
  expect(said.panes).toBe(computed)
})

test('cut off in any step, before or after it has happened, the totals are the same', {
  timeout: 600_000,
}, async () => {
  const whole = profileFor('cut-off')
  const { pipeline } = whole
  await storePredictions(clickhouse, rows(0, 300), { pipeline })
  let steps = 0
  const counting = cutOff((when) => {
    if (when === 'before') steps += 1
    return false
  })
  await driftPart(counting, whole).catchUp()
  const expected = await paneTotals(clickhouse, whole)
  const scores = await scoresOf(whole)
  expect(expected).toMatchObject({ predictions: 600, counted: [600] })
  expect(steps).toBeGreaterThanOrEqual(6)

  for (let step = 1; step <= steps; step++) {
    for (const when of ['before', 'after'] as const) {
      const profile = { ...whole, profile: `cut-${step}-${when}` }
      let at = 0
      const cut = driftPart(
        cutOff((phase) => phase === when && ++at === step),
        profile,
      )
      await expect(cut.catchUp(), `step ${step}, ${when}`).rejects.toThrow('cut off')
      // another process takes over
      await driftPart(clickhouse, profile).catchUp()
      expect(await paneTotals(clickhouse, profile), `step ${step}, ${when}`).toEqual(expected)
      expect(await scoresOf(profile), `step ${step}, ${when}`).toEqual(scores)
    }
  }
})

test('two that watch at once do each other no harm, also while more is stored', { timeout: 400_000 }, async () => {
  const profile = profileFor('two')
  const { pipeline } = profile
  const [one, other] = [driftPart(clickhouse, profile), driftPart(clickhouse, profile)]
  for (let from = 0; from < 600; from += 60) {
    await Promise.all([
      storePredictions(clickhouse, rows(from, from + 60, from), { pipeline }),
      one.catchUp(),
      other.catchUp(),
      reconciled(profile).then(({ faults }) => expect(faults).toEqual([])),
    ])
  }
  await Promise.all([one.catchUp(), other.catchUp()])
  expect(await paneTotals(clickhouse, profile)).toMatchObject({ predictions: 1_200, counted: [1_200] })
  expect(await reconciled(profile)).toMatchObject({ predictions: 1_200, faults: [] })
})

test('what is erased leaves its panes, and a pane that was tampered with is found and mended', async () => {
  const profile = profileFor('erased')
  const { pipeline } = profile
  const { catchUp, said } = driftPart(clickhouse, profile)
  await storePredictions(clickhouse, rows(0, 100), { pipeline })
  await catchUp()
  await clickhouse.command(`DELETE FROM predictions WHERE pipeline = '${pipeline}' AND segment = 'JFK'`)
  const { faults } = await reconciled(profile)
  expect(faults.length).toBeGreaterThan(0)
  // with a retention they may be gone for good, and what was counted of them is kept
  await clickhouse.command('ALTER TABLE predictions MODIFY TTL toDateTime(written_at) + INTERVAL 50 YEAR')
  expect((await reconciled(profile)).faults).toEqual([])
  await clickhouse.command('ALTER TABLE predictions REMOVE TTL')
  await catchUp()
  expect(said.faults).toEqual(faults)
  const { predictions, counted } = await paneTotals(clickhouse, profile)
  expect(counted).toEqual([predictions])
  expect(
    await clickhouse.rows(
      `SELECT toFloat64(sum(n)) AS n FROM feature_panes FINAL WHERE pipeline = {pipeline:String} AND segment = 'JFK'`,
      { pipeline },
    ),
  ).toEqual([{ n: 0 }])
  expect((await reconciled(profile)).faults).toEqual([])
})

test('panes of another width, and of another profile, are never added to these', async () => {
  const profile = profileFor('widths')
  const { pipeline } = profile
  await storePredictions(clickhouse, rows(0, 300), { pipeline })
  await driftPart(clickhouse, profile).catchUp()
  const wide = { ...MONITOR, paneMs: HOUR }
  await driftPart(clickhouse, profile, wide).catchUp()
  const scored = await clickhouse.rows<{ n: string }>(
    `SELECT DISTINCT n FROM drift_scores FINAL WHERE pipeline = {pipeline:String} AND segment = '*' AND metric = 'missing'
     AND model_version = '1' AND role = 'primary' AND window_start = toDateTime({start:UInt32}, 'UTC')`,
    { pipeline, start: START / 1_000 },
  )
  const [counted] = await clickhouse.rows<{ n: string }>(
    `SELECT count() AS n FROM predictions FINAL WHERE pipeline = {pipeline:String} AND model_version = '1' AND role = 'primary'
     AND event_time < fromUnixTimestamp64Milli({end:Int64})`,
    { pipeline, end: START + HOUR },
  )
  expect(scored).toEqual([{ n: counted?.n }])
  const of = { ...profile, ...wide }
  expect(await reconcilePanes(clickhouse, of, await storedLanes(clickhouse, pipeline), null)).toMatchObject({
    predictions: 600,
    faults: [],
  })
})

/** The client, cut off before or after a statement that changes something, where `isCut` says so. */
function cutOff(
  isCut: (when: 'before' | 'after') => boolean,
): Pick<ClickHouseClient, 'rows' | 'command' | 'insert' | 'insertBody'> {
  const guarded =
    <A extends unknown[]>(call: (...parameters: A) => Promise<void>) =>
    async (...parameters: A): Promise<void> => {
      if (isCut('before')) throw new Error('cut off')
      await call(...parameters)
      if (isCut('after')) throw new Error('cut off')
    }
  return {
    rows: clickhouse.rows,
    command: guarded(clickhouse.command),
    insert: guarded(clickhouse.insert),
    insertBody: guarded(clickhouse.insertBody),
  }
}

async function scoresOf({ pipeline, profile }: ReturnType<typeof entryOf>) {
  return await clickhouse.rows(
    `SELECT model_version, role, feature, subject, segment, metric, window_start, status, round(value, 9) AS value, n, closed
     FROM drift_scores FINAL WHERE pipeline = {pipeline:String} AND profile = {profile:String}
     ORDER BY model_version, role, subject, feature, segment, metric, window_start`,
    { pipeline, profile },
  )
}
