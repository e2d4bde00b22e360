// Panes are starts of equal intervals since 1970, epoch ms; of events before 1970 or from 2106 on there are none.

const LAST_MS = Date.UTC(2106, 0, 1)

/** The pane of an event: Int64, epoch ms. */
export function paneSql(paneMs: number): string {
  return `intDiv(toUnixTimestamp64Milli(event_time), ${paneMs}) * ${paneMs}`
}

/** Events that have a pane. */
export const HAS_PANE = `event_time >= ${eventTime(0)} AND event_time < ${eventTime(LAST_MS)}`

/** True for events in these panes (ascending), so written that the sorting key is used. */
export function inPanesSql(panes: readonly number[], paneMs: number): string {
  const runs = runsOf(panes, paneMs).map(
    ({ from, to }) => `(event_time >= ${eventTime(from)} AND event_time < ${eventTime(to)})`,
  )
  return `(${runs.join(' OR ')})`
}

/** Panes that follow each other, as [from, to). */
export function runsOf(panes: readonly number[], paneMs: number): readonly { from: number; to: number }[] {
  const runs: { from: number; to: number }[] = []
  for (const pane of panes) {
    const last = runs.at(-1)
    if (last?.to === pane) last.to = pane + paneMs
    else runs.push({ from: pane, to: pane + paneMs })
  }
  return runs
}

/** True for rows of a table of panes within these times. */
export function paneRowsSql(runs: readonly { readonly from: number; readonly to: number }[], paneMs: number): string {
  const times = runs.map(
    ({ from, to }) => `(pane >= toDateTime(${from / 1_000}, 'UTC') AND pane < toDateTime(${to / 1_000}, 'UTC'))`,
  )
  return `pane_seconds = ${paneMs / 1_000} AND (${times.join(' OR ')})`
}

function eventTime(ms: number): string {
  return `fromUnixTimestamp64Milli(toInt64(${ms}), 'UTC')`
}
