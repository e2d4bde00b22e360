import { type Line, lineChart, lineLegend } from './line-chart.ts'
import { figure, figures, nothing, table } from './markup.ts'
import type { QualityPoint, ReportData } from './read-report.ts'
import { colorOf, element, escapeText, percent, shown, shownTime } from './svg.ts'

/** What a report says of the model, and alerts, as markup; each section says so when there is nothing to show. */

const ALL_KNOWN = 65_535

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
  const found = METRICS.flatMap(([metric, title]) => {
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
    ? nothing('No label has come for the predictions of this window.')
    : figures(found.slice(0, 6))
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
  if (metric === undefined) return nothing('No label has come for the predictions of this window.')
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
  return figures([
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
  if (points.length === 0) return nothing('No true or false label has come for the predictions of this window.')
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
  if (challengers.length === 0) return nothing('No shadow version has scored labelled events of this window.')
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
  if (alerts.length === 0) return nothing(`No rule began or ceased to fire in this window. ${now}`)
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
