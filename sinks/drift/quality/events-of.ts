/**
 * One event, in a table of predictions or labels: 16 bytes to join by, which is what ClickHouse makes of a key of several texts, but made
 * once.
 */
export const EVENT_KEY = 'sipHash128(tenant, event_id)'

/** A set of numbers is built and asked twice as fast as one of texts. */
const HASH = 'cityHash64(tenant, event_id)'
/** With more events than this each granule of a table is likely to have one of them, and the index is of no use. */
const INDEXED = 20_000

/**
 * True for rows of the events of other rows (`table WHERE …`, about so many of them), and rarely for one of another event. Where the table is
 * sorted by event only what may have them is read: granule by granule for few, and from the first to the last of many, which helps
 * where ids are in order.
 */
export function eventsOfSql(rows: string, count: number): string {
  const index =
    count <= INDEXED
      ? `indexHint((tenant, event_id) IN (SELECT tenant, event_id FROM ${rows}))`
      : `event_id BETWEEN ${endSql(rows, 1)} AND ${endSql(rows, 2)}`
  return `${index} AND ${HASH} IN (SELECT ${HASH} FROM ${rows})`
}

/** The same query for both ends, so that it runs once. */
function endSql(rows: string, end: 1 | 2): string {
  return `(SELECT (min(event_id), max(event_id)) FROM ${rows}).${end}`
}
