/** A string literal of ClickHouse. */
export function sqlText(value: string): string {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** A name of a table, column, user or view, in backticks. */
export function sqlName(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``
}

/** A `DateTime('UTC')` of epoch ms, to the second. */
export function sqlTime(epochMs: number): string {
  return `toDateTime(${Math.floor(epochMs / 1_000)}, 'UTC')`
}
