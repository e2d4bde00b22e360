import { readFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'

export const HOUSING_FEATURES = [
  'MedInc',
  'HouseAge',
  'AveRooms',
  'AveBedrms',
  'Population',
  'AveOccup',
  'Latitude',
  'Longitude',
] as const

/** Rows of one period, by column; `id` is the row's number in the whole example. */
export interface HousingRows {
  readonly features: Readonly<Record<string, readonly number[]>>
  readonly scores: readonly number[]
  readonly predicted: readonly number[]
  readonly labels: readonly number[]
}

export interface CaliforniaHousing {
  readonly reference: HousingRows
  readonly analysis: HousingRows
  /** Every month of both, in order. */
  readonly months: ReadonlyMap<string, HousingRows>
}

const REFERENCE_ROWS = 5832

/** NannyML's example, see test/fixtures/drift/README.md. */
export function readCaliforniaHousing(): CaliforniaHousing {
  const file = path.join(import.meta.dirname, '../fixtures/drift/california-housing.csv.gz')
  const [, ...lines] = gunzipSync(readFileSync(file)).toString('utf8').trimEnd().split('\n')
  const rows = lines.map((line, id) => {
    const [month, ...values] = line.split(',')
    return { month: month!, id, values: values.map(Number) }
  })
  const columns = (chosen: typeof rows): HousingRows => ({
    features: Object.fromEntries([
      ...HOUSING_FEATURES.map((name, at) => [name, chosen.map((row) => row.values[at]!)]),
      ['id', chosen.map((row) => row.id)],
    ]),
    scores: chosen.map((row) => row.values[8]!),
    predicted: chosen.map((row) => row.values[9]!),
    labels: chosen.map((row) => row.values[10]!),
  })
  const months = Map.groupBy(rows, (row) => row.month)
  return {
    reference: columns(rows.slice(0, REFERENCE_ROWS)),
    analysis: columns(rows.slice(REFERENCE_ROWS)),
    months: new Map([...months].map(([month, chosen]) => [month, columns(chosen)])),
  }
}
