import { afterAll, beforeAll, expect, test } from 'vitest'
import { eventsOfSql } from '../../sinks/drift/quality/events-of.ts'
import { migratedDatabase, type TestDatabase } from '../support/clickhouse-database.ts'
import { DAY_ONE, HOUR, qualityRows } from '../support/quality-rows.ts'

// Which predictions labels are about, and the other way round, whichever index is asked.

let database: TestDatabase

beforeAll(async () => {
  database = await migratedDatabase()
})
afterAll(() => database?.drop())

const IDS = [
  '',
  'a',
  'B',
  '10',
  '9',
  'it’s',
  '\\',
  'a'.repeat(300),
  ...Array.from({ length: 200 }, (_, at) => `e${at}`),
]
const isLabelled = (_: string, index: number): boolean => index % 3 === 0

test.each([
  ['few, by the index', 1],
  ['many, from the first to the last', 1_000_000],
])('rows of the same events: %s', async (_, count) => {
  const pipeline = `events-${count}`
  const rows = qualityRows(database, pipeline)
  await rows.predict(
    ['main', 'other'].flatMap((tenant) =>
      IDS.map((event_id, index) => ({ event_id, tenant, event_time: DAY_ONE + index * HOUR, origin_offset: index })),
    ),
  )
  const labelled = IDS.filter(isLabelled).filter((id) => id !== '')
  await rows.label(labelled.map((id) => ({ id, truth: true, at: DAY_ONE })))
  const own = `pipeline = '${pipeline}'`
  const eventsIn = async (table: string, others: string): Promise<readonly unknown[]> =>
    await database.client.rows(
      `SELECT tenant, event_id AS id FROM ${table} WHERE ${own} AND ${eventsOfSql(others, count)} ORDER BY tenant, id`,
    )
  const expected = labelled.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const ofMain = expected.map((id) => ({ tenant: 'main', id }))
  expect(await eventsIn('predictions', `labels WHERE ${own}`)).toEqual(ofMain)
  expect(await eventsIn('labels', `predictions WHERE ${own}`)).toEqual(ofMain)
  // of some only, and of none
  const since = `predictions WHERE ${own} AND event_time < fromUnixTimestamp64Milli(toInt64(${DAY_ONE + 60 * HOUR}), 'UTC')`
  const first = new Set(IDS.slice(0, 60))
  expect(await eventsIn('labels', since)).toEqual(ofMain.filter(({ id }) => first.has(id)))
  expect(await eventsIn('labels', `predictions WHERE pipeline = 'none'`)).toEqual([])
})
