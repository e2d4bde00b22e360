import { afterAll, beforeAll, expect, test } from 'vitest'
import type { NumericProfile, SubjectProfile, ValuesProfile } from '../../schemas/control/profiles.ts'
import { countIndexSql, countsSql, productSumsSql, standardisedSql } from '../../sinks/drift/profiles/count-index.ts'
import { emptyDatabase, type TestDatabase } from '../support/clickhouse-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await emptyDatabase()
})
afterAll(() => database.drop())

const base = { name: 'x', subject: 'feature', position: 0, mean: 2, std: 4, min: -1, max: 9 } as const
const numeric: NumericProfile = {
  ...base,
  kind: 'numeric',
  lo: -1,
  width: 0.25,
  bins: 4,
  counts: [0, 0, 0, 0, 0, 0, 0],
}
const values: ValuesProfile = {
  ...{ ...base, kind: 'values', values: [3, 0, -1.5], others: [7, 8], names: null, counts: [0, 0, 0, 0, 0, 0] },
}
const nothing: ValuesProfile = { ...base, kind: 'values', values: [], others: [], names: null, counts: [0, 0, 0] }

const COLUMNS = { features: 'f', score: 's' }
const rowsOf = (texts: readonly string[]): string =>
  `(SELECT arrayJoin([${texts.map((text) => `[toFloat32(${text}), toFloat32(1)]`).join(', ')}]) AS f, toFloat32(0.5) AS s)`

async function indexesOf(profile: SubjectProfile, texts: readonly string[]): Promise<readonly number[]> {
  const rows = await database.client.rows<{ at: number }>(
    `SELECT ${countIndexSql(profile, COLUMNS)} AS at FROM ${rowsOf(texts)}`,
  )
  return rows.map(({ at }) => at)
}

test('a value on an edge is above it; what is beyond, infinite or missing has counts of its own', async () => {
  const texts = ['-1.01', '-1', '-0.76', '-0.75', '0', '-0.', '0.01', '-inf', 'inf', 'nan', '1e30']
  expect(await indexesOf(numeric, texts)).toEqual([0, 1, 1, 2, 5, 5, 5, 0, 5, 6, 5])
})

test('a known value has its place, the rarer ones share one, and so do those that the reference lacks', async () => {
  const texts = ['3', '0', '-0.', '-1.5', '7', '8', '7.5', '1e10', 'inf', 'nan']
  expect(await indexesOf(values, texts)).toEqual([0, 1, 1, 2, 3, 3, 4, 4, 4, 5])
  expect(await indexesOf(nothing, ['1', 'nan'])).toEqual([1, 2])
})

test('counts are in the order of the profile, of features and of the score', async () => {
  const score: NumericProfile = { ...numeric, name: 'score', subject: 'score', position: -1, lo: 0, bins: 2 }
  const second: ValuesProfile = { ...values, position: 1 }
  const subjects = [values, second, { ...score, counts: [0, 0, 0, 0, 0] }]
  const [row] = await database.client.rows<{ counts: string[][] }>(
    `SELECT [${subjects.map((subject) => countsSql(subject, COLUMNS)).join(', ')}] AS counts FROM ${rowsOf(['3', '3', '7', 'nan'])}`,
  )
  expect(row?.counts.map((each) => each.map(Number))).toEqual([
    [2, 0, 0, 1, 0, 1],
    [0, 0, 0, 0, 4, 0],
    [0, 0, 0, 4, 0],
  ])
})

test('products are of standardised values, a missing one being 0', async () => {
  const subjects = [numeric, { ...numeric, position: 1, mean: 0, std: 2 }]
  const columns = standardisedSql({ subjects, moments: { positions: [0, 1] } }, COLUMNS)
  const sql = (sum: 'sum' | 'sumKahan'): string =>
    `SELECT ${productSumsSql(['a', 'b'], sum)} AS products FROM (SELECT ${columns[0]} AS a, ${columns[1]} AS b FROM ${rowsOf(['6', 'nan', 'inf', '-2'])})`
  for (const sum of ['sum', 'sumKahan'] as const) {
    const [row] = await database.client.rows<{ products: number[] }>(sql(sum))
    expect(row?.products).toEqual([2, 0, 1])
  }
})
