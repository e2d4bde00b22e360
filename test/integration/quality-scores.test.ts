import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ProfileEntry } from '../../schemas/control/profiles.ts'
import { exactAuc } from '../../sinks/drift/statistics/auc.ts'
import { calibrationCurve, expectedCalibrationError } from '../../sinks/drift/statistics/calibration-error.ts'
import { confusionAt, ratesOfConfusion } from '../../sinks/drift/statistics/confusion.ts'
import { logLosses, meanOf, squaredErrors } from '../../sinks/drift/statistics/losses.ts'
import { compareAucs } from '../../sinks/drift/statistics/paired.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { DAY_ONE, HOUR, qualityRows } from '../support/quality-rows.ts'
import { seededRandom } from '../support/seeded-random.ts'
import { uniqueName } from '../support/unique-name.ts'

// Live quality on the real engine: panes by label lag and scores, against the same numbers computed row by row.

let database: TestDatabase

beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database?.drop())

interface Event {
  readonly id: string
  readonly at: number
  readonly score: number
  readonly truth: boolean
  readonly segment: string
}

/** Of an hour of events: the score is the chance to be true, unless the concept has changed. */
function eventsOf(
  seed: number,
  count: number,
  concept: (score: number) => number = (score) => score,
): readonly Event[] {
  const random = seededRandom(seed).next
  return Array.from({ length: count }, (_, index) => {
    // on the bins' grid, so that binned and exact AUC are the same
    const score = Math.fround((Math.floor(random() * 200) + 0.5) / 200)
    return {
      id: `event-${seed}-${index}`,
      at: DAY_ONE + Math.floor((index / count) * HOUR),
      score,
      truth: random() < concept(score),
      segment: index % 3 === 0 ? 'JFK' : 'EWR',
    }
  })
}

const predictionsOf = (events: readonly Event[]) =>
  events.map(({ id, at, score, segment }, index) => ({
    event_id: id,
    event_time: at,
    origin_offset: index,
    score,
    segment,
  }))

const labelsOf = (events: readonly Event[], lagHours: number) =>
  events.map(({ id, at, truth }) => ({ id, truth, at: at + lagHours * HOUR }))

interface Score {
  readonly metric: string
  readonly segment: string
  readonly known: number
  readonly status: string
  readonly value: number
  readonly se: number
  readonly n: number
  readonly labels: number
  readonly closed: boolean
}

async function scoresOf(
  pipeline: string,
): Promise<(metric: string, segment?: string, known?: number) => Score | undefined> {
  const rows = await database.client.rows<Score>(
    `SELECT metric, segment, known_after_hours AS known, status, value, standard_error AS se, toFloat64(n) AS n, toFloat64(labels) AS labels, closed
     FROM quality_scores FINAL WHERE pipeline = {pipeline:String}`,
    { pipeline },
  )
  return (metric, segment = '*', known = 65_535) =>
    rows.find((row) => row.metric === metric && row.segment === segment && row.known === known)
}

const LATER = { seenUntil: DAY_ONE + 2 * HOUR }

test('scores are those of the rows, over all and by segment', async () => {
  const pipeline = uniqueName('quality')
  const rows = qualityRows(database, pipeline)
  const events = eventsOf(1, 3_000)
  await rows.predict(predictionsOf(events))
  await rows.label(labelsOf(events, 0))
  await rows.watch(LATER)
  const score = await scoresOf(pipeline)
  for (const segment of ['*', 'JFK', 'EWR']) {
    const own = events.filter((event) => segment === '*' || event.segment === segment)
    const scores = own.map((event) => event.score)
    const truth = own.map((event) => Number(event.truth))
    const rates = ratesOfConfusion(confusionAt(scores, truth, 0.5))
    const expected = {
      auc: exactAuc(scores, truth),
      log_loss: meanOf(logLosses(scores, truth)),
      brier: meanOf(squaredErrors(scores, truth)),
      ece: expectedCalibrationError(calibrationCurve(scores, truth, { kind: 'equal-width', bins: 10 })),
      ...rates,
      positive_rate: meanOf(truth),
      coverage: 1,
    }
    for (const [metric, value] of Object.entries(expected)) {
      expect(score(metric, segment), metric).toMatchObject({
        status: 'ok',
        n: own.length,
        labels: own.length,
        closed: true,
      })
      expect(score(metric, segment)?.value, metric).toBeCloseTo(value, 9)
    }
    expect(score('auc', segment)?.se).toBeGreaterThan(0.001)
  }
})

test('late labels restate what is known, by how long they took', async () => {
  const pipeline = uniqueName('quality')
  const rows = qualityRows(database, pipeline)
  const events = eventsOf(2, 1_000)
  await rows.predict(predictionsOf(events))
  await rows.watch(LATER)
  let score = await scoresOf(pipeline)
  expect(score('coverage')).toMatchObject({ value: 0, n: 1_000, labels: 0 })
  expect(score('auc')).toBeUndefined()

  await rows.label(labelsOf(events.slice(0, 300), 0.5))
  await rows.watch(LATER)
  await rows.label(labelsOf(events.slice(300, 600), 30))
  await rows.label(labelsOf(events.slice(600, 900), 24 * 40))
  await rows.watch(LATER)
  score = await scoresOf(pipeline)
  const known = (to: number) => {
    const own = events.slice(0, to)
    return exactAuc(
      own.map((event) => event.score),
      own.map((event) => Number(event.truth)),
    )
  }
  expect([1, 24, 168, 65_535].map((hours) => score('coverage', '*', hours)?.value)).toEqual([0.3, 0.3, 0.6, 0.9])
  for (const [hours, to] of [
    [1, 300],
    [24, 300],
    [168, 600],
    [65_535, 900],
  ] as const) {
    expect(score('auc', '*', hours)?.value).toBeCloseTo(known(to), 9)
  }
})

test('a corrected label moves, a withdrawn one is gone, and copies count once', async () => {
  const pipeline = uniqueName('quality')
  const rows = qualityRows(database, pipeline)
  const events = eventsOf(3, 500)
  await rows.predict(predictionsOf(events))
  await rows.predict(predictionsOf(events))
  await rows.label(labelsOf(events, 0))
  await rows.label(labelsOf(events, 0))
  await rows.watch(LATER, { maxRecords: 170 })
  expect((await scoresOf(pipeline))('positive_rate')).toMatchObject({
    n: 500,
    labels: 500,
    value: meanOf(events.map((event) => Number(event.truth))),
  })

  const corrected = events.map((event, index) => (index < 100 ? { ...event, truth: !event.truth } : event))
  await rows.label(labelsOf(corrected.slice(0, 100), 50))
  await rows.watch(LATER)
  const score = await scoresOf(pipeline)
  expect(score('coverage', '*', 24)?.value).toBe(0.8)
  expect(score('coverage')?.value).toBe(1)
  expect(score('positive_rate')?.value).toBeCloseTo(meanOf(corrected.map((event) => Number(event.truth))), 9)

  // withdrawn it is as if it had never been said, after however many hours it is asked
  const some = corrected.slice(0, 200).map(({ id, at }) => ({ id, at: at + 90 * HOUR, truth: null }))
  await rows.label(some)
  await rows.label(some)
  await rows.watch(LATER)
  const left = await scoresOf(pipeline)
  expect([1, 24, 168, 65_535].map((hours) => left('coverage', '*', hours)?.value)).toEqual([0.6, 0.6, 0.6, 0.6])
  expect(left('positive_rate')).toMatchObject({
    n: 500,
    labels: 300,
    value: meanOf(corrected.slice(200).map((event) => Number(event.truth))),
  })

  // what is said later counts again
  await rows.label(labelsOf(corrected.slice(0, 100), 30))
  await rows.watch(LATER)
  const again = await scoresOf(pipeline)
  expect([24, 168].map((hours) => again('coverage', '*', hours)?.value)).toEqual([0.6, 0.8])

  // all of them: no score stands for anything any more
  await rows.label(corrected.map(({ id, at }) => ({ id, at, truth: null })))
  await rows.watch(LATER)
  const withdrawn = await scoresOf(pipeline)
  expect(withdrawn('coverage')).toMatchObject({ value: 0, n: 500, labels: 0 })
  expect(withdrawn('auc')).toMatchObject({ status: 'insufficient_data', n: 0 })
})

test('panes add up to the predictions, whatever was cut off, repeated or done by two', async () => {
  const pipeline = uniqueName('quality')
  const rows = qualityRows(database, pipeline)
  const events = eventsOf(4, 2_000)
  await rows.predict(predictionsOf(events.slice(0, 1_200)))
  await Promise.all([rows.watch(LATER, { maxRecords: 300 }), rows.watch(LATER, { maxRecords: 700 })])
  await rows.predict(predictionsOf(events).slice(1_200))
  await rows.label(labelsOf(events, 3))
  await Promise.all([rows.watch(LATER), rows.watch(LATER)])
  const totals = () =>
    database.client.rows(
      `SELECT segment, toUInt32(sum(p.n)) AS n, toUInt32(sumIf(p.n, lag_hours = 3)) AS labelled, toUInt32(sum(arraySum(counts))) AS binned
       FROM performance_panes AS p FINAL WHERE pipeline = {pipeline:String} GROUP BY segment ORDER BY segment`,
      { pipeline },
    )
  const count = (segment: string) => events.filter((event) => event.segment === segment).length
  const expected = [['*', 2_000] as const, ['EWR', count('EWR')] as const, ['JFK', count('JFK')] as const].map(
    ([segment, n]) => ({ segment, n, labelled: n, binned: n }),
  )
  expect(await totals()).toEqual(expected)
  // a worker that crashed before it had noted its progress
  await database.client.command(
    `ALTER TABLE pane_progress DELETE WHERE pipeline = '${pipeline}' SETTINGS mutations_sync = 2`,
  )
  await rows.watch(LATER)
  expect(await totals()).toEqual(expected)
})

const PROFILE = {
  pipeline: 'p',
  profile: 'reference-1',
  state: 'accepted',
  digest: '',
  content: {
    model: 'delay',
    featureSet: 'set-1',
    source: { kind: 'file', name: 'r', sha256: '' },
    rows: 1,
    subjects: [],
    moments: null,
    // scores are what they say
    calibration: { scores: [0, 1], probabilities: [0, 1] },
  },
} as const satisfies ProfileEntry

test('before labels quality is estimated; a changed concept with unchanged inputs shows only in what came, and in the gap', async () => {
  const well = eventsOf(5, 4_000)
  const changed = eventsOf(5, 4_000, (score) => 1 - score * 0.6)
  const found = []
  for (const events of [well, changed]) {
    const pipeline = uniqueName('quality')
    const rows = qualityRows(database, pipeline)
    await rows.predict(predictionsOf(events))
    await rows.watch(LATER)
    await rows.watch({ ...LATER, profile: PROFILE })
    const before = await scoresOf(pipeline)
    expect(before('auc')).toBeUndefined()
    await rows.label(labelsOf(events, 5))
    await rows.watch({ ...LATER, profile: PROFILE })
    const after = await scoresOf(pipeline)
    expect(after('estimated_auc')?.value).toBe(before('estimated_auc')?.value)
    found.push({
      estimated: before('estimated_auc')?.value ?? Number.NaN,
      realized: after('auc')?.value ?? Number.NaN,
      gap: after('auc_gap')?.value ?? Number.NaN,
      rateGap: after('positive_rate_gap')?.value ?? Number.NaN,
    })
  }
  const [calm, drifted] = found
  if (calm === undefined || drifted === undefined) throw new Error('two runs are expected')
  expect(drifted.estimated).toBe(calm.estimated)
  expect(Math.abs(calm.gap)).toBeLessThan(0.02)
  expect(Math.abs(calm.rateGap)).toBeLessThan(0.02)
  expect(calm.estimated).toBeCloseTo(calm.realized, 1)
  expect(drifted.realized).toBeLessThan(0.5)
  expect(drifted.gap).toBeGreaterThan(0.3)
})

test('a challenger is compared on the events that it shadowed', async () => {
  const pipeline = uniqueName('quality')
  const rows = qualityRows(database, pipeline)
  const random = seededRandom(7).next
  const events = eventsOf(6, 2_000)
  // the champion is the challenger with noise
  const served = events.map((event) => ({ ...event, score: Math.fround((event.score + random()) / 2) }))
  await rows.predict(predictionsOf(served))
  await rows.predict(
    predictionsOf(events.slice(0, 1_500)).map((each) => ({ ...each, role: 'shadow', model_version: '2' })),
    'shadow_predictions',
  )
  await rows.label(labelsOf(events, 0))
  await rows.watch(LATER)
  const rowsOf = await database.client.rows<{ metric: string; value: number; n: number; p: string; champion: string }>(
    `SELECT metric, value, toFloat64(n) AS n, params['p_value'] AS p, params['champion'] AS champion FROM quality_scores FINAL
     WHERE pipeline = {pipeline:String} AND role = 'shadow' AND model_version = '2' ORDER BY metric`,
    { pipeline },
  )
  const own = events.slice(0, 1_500)
  const test = compareAucs(
    own.map((event) => Number(event.truth)),
    served.slice(0, 1_500).map((event) => event.score),
    own.map((event) => event.score),
  )
  expect(rowsOf.map(({ metric }) => metric)).toEqual(['auc_gain', 'brier_gain', 'log_loss_gain'])
  expect(rowsOf[0]).toMatchObject({ n: 1_500, champion: '1' })
  expect(rowsOf[0]?.value).toBeCloseTo(test.difference, 9)
  expect(Number(rowsOf[0]?.p)).toBeCloseTo(test.pValue, 9)
  for (const { value, p } of rowsOf) {
    expect(value).toBeGreaterThan(0)
    expect(Number(p)).toBeLessThan(0.01)
  }
})

test('numbers have errors, classes accuracy, and few rows say nothing', async () => {
  const numbers = uniqueName('quality')
  const rows = qualityRows(database, numbers)
  const events = eventsOf(8, 100)
  await rows.predict(predictionsOf(events))
  await rows.label(events.map(({ id, at, score }, index) => ({ id, at, truth: score + (index % 2 === 0 ? 1 : -3) })))
  await rows.watch(LATER)
  const errors = await scoresOf(numbers)
  expect(errors('mae')?.value).toBeCloseTo(2, 6)
  expect(errors('rmse')?.value).toBeCloseTo(Math.sqrt(5), 6)
  await rows.watch(LATER, { minRows: 101 })
  await rows.label([{ id: events[0]?.id ?? '', at: DAY_ONE, truth: 1 }])
  await rows.watch(LATER, { minRows: 101 })
  expect((await scoresOf(numbers))('mae')).toMatchObject({ status: 'insufficient_data', n: 100 })

  const classes = uniqueName('quality')
  const named = qualityRows(database, classes)
  await named.predict(
    predictionsOf(events).map((each, index) => ({ ...each, label: index % 4 === 0 ? 'late' : 'early' })),
  )
  await named.label(events.map(({ id, at }) => ({ id, at, truth: 'early' })))
  await named.watch(LATER)
  expect((await scoresOf(classes))('accuracy')?.value).toBe(0.75)
})
