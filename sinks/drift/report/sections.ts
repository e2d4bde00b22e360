import { populationStability } from '../statistics/psi.ts'
import { heatLegend, heatMap } from './heat-map.ts'
import { histogram } from './histogram.ts'
import { type Line, lineChart, lineLegend } from './line-chart.ts'
import type { DriftCell, QualityPoint, ReportData, SubjectCounts } from './read-report.ts'
import {
  element,
  escapeText,
  label,
  line,
  linear,
  mark,
  percent,
  picture,
  REFERENCE,
  SERIES,
  shown,
  shownBin,
  shownTime,
} from './svg.ts'

/** Sections of a report, as markup; each says so when there is nothing to show. */

const MOST_COLUMNS = 60
const MOST_DRIFTED = 12
const MOST_BINS = 6
const ALL_KNOWN = 65_535
const HOUR_MS = 3_600_000

const said = (text: string): string => element('p', { class: 'none' }, escapeText(text))
const note = (text: string): string => element('p', { class: 'note' }, escapeText(text))
const figure = (title: string, body: string): string =>
  element('figure', {}, element('figcaption', {}, escapeText(title)), body)
const grid = (figures: readonly string[]): string => element('div', { class: 'grid' }, ...figures)

/** Features and the score, by time. */
export function driftOverTime({ drift }: ReportData): string {
  if (drift.length === 0) return said('No window was compared with a profile.')
  const rows = worstFirst(drift)
  const starts = [...new Set(drift.map(({ start }) => start))].sort((a, b) => a - b)
  const together = Math.ceil(starts.length / MOST_COLUMNS)
  const columns = starts.filter((_, at) => at % together === 0)
  const places = new Map(starts.map((start, at) => [start, Math.floor(at / together)]))
  const worst = new Map<string, DriftCell>()
  for (const cell of drift) {
    const key = `${places.get(cell.start)} ${rowName(cell)}`
    worst.set(key, worse(cell, worst.get(key)))
  }
  const map = heatMap({
    name: 'Drift of each feature by time',
    rows,
    columns: columns.map(shownTime),
    cell(row, column) {
      const cell = worst.get(`${column} ${rows[row]}`)
      return cell === undefined ? null : heatCell(cell, `${rows[row]}, window from ${shownTime(cell.start)}`)
    },
  })
  const merged = together === 1 ? '' : note(`A column is the worst of ${together} windows in a row.`)
  return heatLegend() + map + merged
}

export function driftBySegment({ segments }: ReportData): string {
  if (segments.length === 0) return said('No segment was compared with a profile in the last closed window.')
  const rows = worstFirst(segments)
  const columns = [...new Set(segments.map(({ segment }) => segment))]
  const cells = new Map<string, DriftCell>()
  for (const cell of segments) {
    const key = `${cell.segment} ${rowName(cell)}`
    cells.set(key, worse(cell, cells.get(key)))
  }
  const start = shownTime(segments[0]?.start ?? 0)
  return (
    note(`The last closed window, from ${start}; each segment is compared with its own reference.`) +
    heatMap({
      name: 'Drift of each feature by segment',
      rows,
      columns,
      cell(row, column) {
        const cell = cells.get(`${columns[column]} ${rows[row]}`)
        return cell === undefined ? null : heatCell(cell, `${rows[row]}, segment ${columns[column]}`)
      },
    })
  )
}

function rowName({ subject, feature }: DriftCell): string {
  if (subject === 'score') return '(score)'
  return feature === '*' ? '(all together)' : feature
}

/** By how many windows drifted, then by how far. */
function worstFirst(cells: readonly DriftCell[]): readonly string[] {
  const sums = new Map<string, number>()
  for (const cell of cells) {
    const weight = (cell.drifts ? 1_000 : 0) + (cell.known ? Math.min(cell.times, 100) : 0)
    sums.set(rowName(cell), (sums.get(rowName(cell)) ?? 0) + weight)
  }
  return [...sums].sort(([one, a], [other, b]) => b - a || one.localeCompare(other)).map(([name]) => name)
}

function worse(one: DriftCell, other: DriftCell | undefined): DriftCell {
  if (other === undefined || (one.known && !other.known)) return one
  if (one.drifts !== other.drifts) return one.drifts ? one : other
  return one.known && one.times > other.times ? one : other
}

function heatCell(cell: DriftCell, name: string): { times: number; drift: boolean; tooltip: string } {
  const metrics = cell.metrics.map(
    ([metric, value, threshold]) => `${metric} ${shown(value)} (threshold ${shown(threshold)})`,
  )
  const verdict = cell.known
    ? `${cell.drifts ? 'drift' : 'no drift'}, worst ${shown(cell.times)} times its threshold`
    : 'too few records to say'
  return {
    times: cell.known ? cell.times : Number.NaN,
    drift: cell.drifts,
    tooltip: [name, verdict, `version ${cell.model_version}, ${shown(cell.n)} records`, ...metrics].join('\n'),
  }
}

export function scoreHistograms({ scores }: ReportData): string {
  if (scores.length === 0)
    return said('No score was counted: there are no panes in the window, or the reference has no scores.')
  const some = scores.slice(-4)
  return (
    note('Grey: the reference. In colour: the window.') +
    grid(
      some.map((each, at) => {
        const n = each.counts.reduce((sum, count) => sum + count, 0)
        return figure(
          `Version ${each.model_version}, ${shown(n)} scores`,
          histogram({ ...withName(each), color: colorOf(at) }),
        )
      }),
    )
  )
}

function withName({ feature, labels, reference, counts }: SubjectCounts) {
  return { name: `${feature}: reference and window`, labels, reference, current: counts }
}

const colorOf = (at: number): string => SERIES[at % SERIES.length] ?? ''

/** Of each feature that has drifted: both histograms, and the bins that made the difference. */
export function driftedFeatures({ drift, counts }: ReportData): string {
  const drifted = new Set(
    drift.filter(({ drifts, subject }) => drifts && subject === 'feature').map(({ feature }) => feature),
  )
  const found = worstFirst(drift).filter((name) => drifted.has(name))
  const shownOnes = found
    .slice(0, MOST_DRIFTED)
    .flatMap((name) => counts.filter(({ subject, feature }) => subject === 'feature' && feature === name))
  if (shownOnes.length === 0) return said('No feature has drifted.')
  const more = found.length > MOST_DRIFTED ? note(`The worst ${MOST_DRIFTED} of ${found.length}.`) : ''
  return (
    shownOnes
      .map((each) =>
        element(
          'div',
          { class: 'pair' },
          figure(each.feature, histogram(withName(each))),
          figure('What makes the difference', topBins(each)),
        ),
      )
      .join('') + more
  )
}

/** The bins with the largest contributions to the PSI; missing ones besides where their share has changed. */
function topBins({ feature, labels, reference, counts }: SubjectCounts): string {
  const name = (bin: number): string => shownBin(labels[bin] ?? '')
  const totals = [reference, counts].map((side) => side.reduce((sum, count) => sum + count, 0))
  const [was = 0, is = 0] = totals
  const psi = populationStability(reference.slice(0, -1), counts.slice(0, -1))
  const share = (bin: number) => ({ bin, was: (reference[bin] ?? 0) / (was || 1), is: (counts[bin] ?? 0) / (is || 1) })
  const top = Array.from(psi.contributions.keys())
    .sort((a, b) => (psi.contributions[b] ?? 0) - (psi.contributions[a] ?? 0))
    .slice(0, MOST_BINS)
    .map(share)
  const missing = share(labels.length - 1)
  const bins = Math.abs(missing.is - missing.was) > 0.005 ? [missing, ...top.slice(0, MOST_BINS - 1)] : top
  const x = linear([0, Math.max(0.01, ...bins.flatMap((bin) => [bin.was, bin.is]))], [0, 220])
  const rows = bins.flatMap(({ bin, was: before, is: now }, at) => {
    const y = at * 29 + 4
    const part = psi.value === 0 ? 0 : (psi.contributions[bin] ?? 0) / psi.value
    const what = bin === labels.length - 1 ? 'not part of the PSI' : `${percent(part)} of a PSI of ${shown(psi.value)}`
    const tooltip = `${name(bin)}\nreference ${percent(before)}, window ${percent(now)}\n${what}`
    const bar = (share: number, top: number, fill: string): string =>
      mark('rect', { x: 150, y: top, width: Math.max(1, x(share)), height: 9, fill, rx: 1 }, tooltip)
    const figures = `${percent(before)} → ${percent(now)}`
    return [
      label(142, y + 14, name(bin).slice(0, 24), { 'text-anchor': 'end', fill: '#1f2933' }),
      bar(before, y + 1, REFERENCE),
      bar(now, y + 11, SERIES[0] ?? ''),
      label(150 + Math.max(x(before), x(now)) + 6, y + 14, figures),
    ]
  })
  return picture(
    500,
    bins.length * 29 + 12,
    `Bins of ${feature} that have changed most`,
    line(150, 0, 150, bins.length * 29 + 4),
    ...rows,
  )
}

const METRICS: readonly (readonly [metric: string, said: string])[] = [
  ['auc', 'AUC: higher is better'],
  ['accuracy', 'Accuracy'],
  ['mae', 'Mean absolute error'],
  ['rmse', 'Root mean squared error'],
  ['brier', 'Brier score: lower is better'],
  ['ece', 'Expected calibration error'],
  ['f1', 'F1'],
  ['positive_rate', 'Share that turned out true'],
]

/** By all that is known today, a line per version; dashed what was expected before labels. */
export function qualityOverTime({ quality, window }: ReportData): string {
  const known = quality.filter(({ known_after }) => known_after === ALL_KNOWN)
  const figures = METRICS.flatMap(([metric, title]) => {
    const points = known.filter((point) => point.metric === metric)
    if (points.length === 0) return []
    const estimated = known.filter((point) => point.metric === `estimated_${metric}`)
    const lines = [...byVersion(estimated, true, 'expected, version'), ...byVersion(points, false, 'version')]
    return [
      figure(
        title,
        lineLegend(lines) +
          lineChart({ name: title, lines, xRange: timeRange(window, known), yRange: null, xText: 'time' }),
      ),
    ]
  })
  return figures.length === 0
    ? said('No label has come for the predictions of this window.')
    : grid(figures.slice(0, 6))
}

/** A window that begins before the report's is shown where it begins. */
function timeRange({ from, to }: ReportData['window'], points: readonly QualityPoint[]): readonly [number, number] {
  return [Math.min(from, ...points.map(({ start }) => start)), to]
}

function byVersion(points: readonly QualityPoint[], isDashed: boolean, name: string): readonly Line[] {
  const versions = [...new Set(points.map(({ model_version }) => model_version))]
  return versions.map((version, at) => ({
    name: `${name} ${version}`,
    color: colorOf(at),
    isDashed,
    points: points.filter(({ model_version }) => model_version === version).map(linePoint),
  }))
}

function linePoint(point: QualityPoint) {
  const { start: x, value: y, low, high, metric, known, n } = point
  const interval = Number.isFinite(low) ? ` (${shown(low)} to ${shown(high)})` : ''
  return {
    x,
    y,
    low,
    high,
    tooltip: `window from ${shownTime(x)}\n${metric} ${shown(y)}${interval}\n${shown(known)} labels of ${shown(n)}`,
  }
}

/** The same numbers as they were known after so many hours, and how fast labels come. */
export function qualityByLag({ quality, lags, window }: ReportData): string {
  const metric = METRICS.map(([name]) => name).find((name) => quality.some((point) => point.metric === name))
  if (metric === undefined) return said('No label has come for the predictions of this window.')
  const ages = [...new Set(quality.map(({ known_after }) => known_after))].sort((a, b) => a - b)
  const lines = ages.map((age, at) => ({
    name: age === ALL_KNOWN ? 'all that is known today' : `known after ${age} h`,
    color: colorOf(at),
    isDashed: false,
    points: quality
      .filter((point) => point.metric === metric && point.known_after === age)
      .toSorted((a, b) => a.start - b.start)
      .map((point) => ({ ...linePoint(point), low: Number.NaN, high: Number.NaN })),
  }))
  const chart = {
    lines,
    xRange: timeRange(window, quality),
    yRange: null,
    xText: 'time' as const,
    name: `${metric} by label lag`,
  }
  return grid([
    figure(`${metric} as known after`, lineLegend(lines) + lineChart(chart)),
    figure('Predictions that have their label', coverage(lags)),
  ])
}

function coverage(lags: ReportData['lags']): string {
  const versions = [...new Set(lags.map(({ model_version }) => model_version))]
  const lines = versions.map((version, at): Line => {
    const own = lags.filter(({ model_version }) => model_version === version)
    const all = own.reduce((sum, { predictions }) => sum + predictions, 0)
    let known = 0
    const points = own.flatMap(({ lag_hours, predictions }) => {
      if (lag_hours === null) return []
      known += predictions
      const tooltip = `version ${version}: ${percent(known / all)} within ${lag_hours + 1} h\n${shown(known)} of ${shown(all)}`
      return [{ x: lag_hours + 1, y: (100 * known) / all, low: Number.NaN, high: Number.NaN, tooltip }]
    })
    return { name: `version ${version}`, color: colorOf(at), isDashed: false, points }
  })
  const last = Math.max(24, ...lines.flatMap(({ points }) => points.map(({ x }) => x)))
  return (
    lineLegend(lines) +
    lineChart({
      name: 'Share of predictions with a label',
      lines,
      xRange: [0, last],
      yRange: [0, 100],
      xText: 'number',
      xTitle: 'hours after the event (y: %)',
    })
  )
}

export function calibrationCurve({ calibration }: ReportData): string {
  const points = calibration.filter(({ events }) => events > 0)
  if (points.length === 0) return said('No true or false label has come for the predictions of this window.')
  const versions = [...new Set(points.map(({ model_version }) => model_version))]
  const lines = versions.map(
    (version, at): Line => ({
      name: `version ${version}`,
      color: colorOf(at),
      isDashed: false,
      points: points
        .filter(({ model_version }) => model_version === version)
        .map(({ promised, came, events }) => {
          const error = 1.96 * Math.sqrt((came * (1 - came)) / events)
          const tooltip = `version ${version}: promised ${percent(promised)}, came ${percent(came)}\n${shown(events)} labelled events`
          return { x: promised, y: came, low: Math.max(0, came - error), high: Math.min(1, came + error), tooltip }
        }),
    }),
  )
  const chart = lineChart({
    name: 'Calibration',
    lines,
    xRange: [0, 1],
    yRange: [0, 1],
    xText: 'number',
    xTitle: 'score',
    diagonal: true,
    width: 500,
    height: 340,
  })
  return figure('Share that came true by score; on the dotted line a score is a probability', lineLegend(lines) + chart)
}

export function challengerTable({ challengers }: ReportData): string {
  if (challengers.length === 0) return said('No shadow version has scored labelled events of this window.')
  const rows = challengers.map((each) => [
    shownTime(each.start),
    each.champion,
    each.challenger,
    each.metric,
    `${shown(each.gain)} ± ${shown(1.96 * each.error)}`,
    each.p_value === null ? '–' : shown(each.p_value),
    shown(each.pairs),
  ])
  return table(
    ['window from', 'served', 'challenger', 'metric', 'gain (positive: challenger better)', 'p', 'pairs'],
    rows,
  )
}

export function alertList({ alerts, firing }: ReportData): string {
  const now = firing.length === 0 ? 'No rule fires now.' : `Firing now: ${firing.join(', ')}.`
  if (alerts.length === 0) return said(`No rule began or ceased to fire in this window. ${now}`)
  const items = alerts.map(({ at, rule, state, severity, message, evidence_sql }) =>
    element(
      'li',
      { class: state === 'firing' ? 'firing' : 'resolved' },
      element('b', {}, escapeText(`${shownTime(at)}  ${rule}: ${state}`)),
      escapeText(` (${severity}) ${message}`),
      element(
        'details',
        {},
        '<summary>the query that shows it</summary>',
        element('pre', {}, escapeText(evidence_sql)),
      ),
    ),
  )
  return element('p', {}, escapeText(now)) + element('ul', { class: 'alerts' }, ...items)
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (name: 'th' | 'td', row: readonly string[]): string =>
    element('tr', {}, ...row.map((text) => element(name, {}, escapeText(text))))
  return element(
    'table',
    {},
    element('thead', {}, cells('th', head)),
    element('tbody', {}, ...rows.map((row) => cells('td', row))),
  )
}

export function hours(ms: number): string {
  return ms % (24 * HOUR_MS) === 0 ? `${ms / 24 / HOUR_MS} d` : `${shown(ms / HOUR_MS)} h`
}
