/** A string literal of ClickHouse. */
export function sqlText(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** A `DateTime('UTC')` of epoch ms, to the second. */
export function sqlTime(epochMs: number): string {
  return `toDateTime(${Math.floor(epochMs / 1_000)}, 'UTC')`
}
