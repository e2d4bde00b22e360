/** A column's type as ClickHouse names it (`system.columns`). */
export type ColumnType =
  | 'String'
  | 'Nullable(String)'
  | 'LowCardinality(String)'
  | 'LowCardinality(Nullable(String))'
  | 'Map(String, String)'
  | 'Bool'
  | 'Int32'
  | 'Nullable(Int32)'
  | 'Int64'
  | 'Nullable(Int64)'
  | 'UInt64'
  | 'Float32'
  | 'Float64'
  | 'Array(Float32)'
  | 'Array(Int64)'
  | "DateTime64(3, 'UTC')"

export const TIME = "DateTime64(3, 'UTC')"

interface Range {
  readonly from: number
  readonly to: number
}

/**
 * What ClickHouse would store as another value without a word: it wraps integers and clamps times. Integers end where
 * JavaScript's are exact, so nothing was rounded on the way here.
 */
const RANGES: Partial<Record<ColumnType, Range>> = {
  Int32: { from: -(2 ** 31), to: 2 ** 31 - 1 },
  'Nullable(Int32)': { from: -(2 ** 31), to: 2 ** 31 - 1 },
  Int64: { from: Number.MIN_SAFE_INTEGER, to: Number.MAX_SAFE_INTEGER },
  'Nullable(Int64)': { from: Number.MIN_SAFE_INTEGER, to: Number.MAX_SAFE_INTEGER },
  UInt64: { from: 0, to: Number.MAX_SAFE_INTEGER },
  [TIME]: { from: Date.UTC(1900, 0, 1), to: Date.UTC(2300, 0, 1) - 1 },
}

/** Of a type that has one. */
export function rangeOf(type: ColumnType): Range {
  const range = RANGES[type]
  if (range === undefined) throw new RangeError(`${type} has no range`)
  return range
}

/** The check of a table's rows: names the first column whose value would not be stored as it is; null = none. */
export function rangeCheck(
  types: Readonly<Record<string, ColumnType>>,
): (row: Readonly<Record<string, unknown>>) => string | null {
  const checks = Object.entries(types).flatMap(([column, type]) => {
    const range = RANGES[type]
    return range === undefined ? [] : [{ column, type, range }]
  })
  return (row) => {
    for (const { column, type, range } of checks) {
      const value = row[column]
      if (value === null && type.startsWith('Nullable')) continue
      if (!Number.isInteger(value) || (value as number) < range.from || (value as number) > range.to) {
        return `${column} does not fit ${type}: ${String(value)}`
      }
    }
    return null
  }
}
