import { driftBySegment, driftedFeatures, driftOverTime, scoreHistograms } from './drift-sections.ts'
import { table } from './markup.ts'
import { alertList, calibrationCurve, challengerTable, qualityByLag, qualityOverTime } from './quality-sections.ts'
import type { ReportData } from './read-report.ts'
import { element, escapeText, GRID, INK, MUTED, shown, shownTime, WARNING } from './svg.ts'

export interface ReportOf {
  readonly pipeline: string
  readonly windowMs: number
  readonly paneMs: number
  /** When it was made, epoch ms. */
  readonly at: number
}

const DAY_MS = 86_400_000
const STYLE = `
body { margin: 0; background: #f5f7f9; color: ${INK}; font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 60px }
h1 { font-size: 24px; margin: 0 0 4px } h2 { font-size: 17px; margin: 0 0 8px }
section { background: #fff; border: 1px solid ${GRID}; border-radius: 6px; padding: 16px 18px; margin-top: 16px; overflow-x: auto }
p { margin: 4px 0 8px } .note, .none, figcaption { color: ${MUTED}; font-size: 13px } .none { font-style: italic }
.lead { color: ${MUTED} } .facts { display: flex; flex-wrap: wrap; gap: 8px 28px; margin: 10px 0 0 }
.facts div { min-width: 90px } .facts b { display: block; font-size: 20px; font-weight: 600 } .facts span { color: ${MUTED}; font-size: 12px }
.facts .bad b { color: ${WARNING} }
.grid { display: grid; grid-template-columns: 1fr 1fr; gap: 14px 20px } .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; border-top: 1px solid ${GRID}; padding-top: 10px; margin-top: 10px }
.pair:first-of-type { border-top: 0 } figure { margin: 0; min-width: 0 } figcaption { font-weight: 600; color: ${INK}; margin-bottom: 2px }
svg { display: block; max-width: 100%; height: auto; font-family: inherit } .legend svg { display: inline-block; margin-right: 5px }
.legend { display: flex; flex-wrap: wrap; gap: 3px 14px; font-size: 12px; margin: 2px 0 6px } .legend b { font-weight: 400 }
.legend i { display: inline-block; width: 14px; height: 12px; border-radius: 2px; margin-right: 5px; vertical-align: -1px; box-sizing: border-box; border: 1px solid #d5dce2 } .legend i.dot { width: 8px; height: 8px; border-radius: 50%; vertical-align: 0; border: 0 }
table { border-collapse: collapse; font-size: 13px } th, td { text-align: left; padding: 4px 16px 4px 0; border-bottom: 1px solid ${GRID} } th { color: ${MUTED}; font-weight: 500 }
.alerts { list-style: none; padding: 0; margin: 0 } .alerts li { border-left: 3px solid #5a9e6f; padding: 4px 0 4px 10px; margin: 8px 0 } .alerts li.firing { border-color: ${WARNING} }
pre { background: #f5f7f9; padding: 8px; overflow-x: auto; font-size: 12px } summary { color: ${MUTED}; font-size: 12px; cursor: pointer }
footer { color: ${MUTED}; font-size: 12px; margin-top: 18px }
@media (max-width: 800px) { .grid, .pair { grid-template-columns: 1fr } }
@media print { body { background: #fff } section { break-inside: avoid } }
`

/** A report as one HTML file: nothing is loaded, nothing runs; figures are in tooltips. */
export function reportPage(of: ReportOf, data: ReportData): string {
  const { window, versions } = data
  const title = `${of.pipeline}: data and model, ${shownTime(window.from)} to ${shownTime(window.to)}`
  const section = (heading: string, body: string): string =>
    element('section', {}, element('h2', {}, escapeText(heading)), body)
  const sections =
    versions.length === 0
      ? section('Nothing', '<p class="none">There are no predictions of events in this window.</p>')
      : [
          section('Alerts', alertList(data)),
          section('Drift by time', driftOverTime(data)),
          section('Drift by segment', driftBySegment(data)),
          section('Features that have drifted', driftedFeatures(data)),
          section('Scores', scoreHistograms(data)),
          section('Calibration', calibrationCurve(data)),
          section('Quality by time', qualityOverTime(data)),
          section('Quality by label lag', qualityByLag(data)),
          section('Challengers', challengerTable(data)),
        ].join('')
  const made = `Made ${new Date(of.at).toISOString()} of the views ${window.prefix}_…; times are UTC and those of the events.`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeText(title)}</title>
<style>${STYLE}</style>
</head>
<body><main>
<h1>${escapeText(of.pipeline)}</h1>
<p class="lead">${escapeText(`Events from ${shownTime(window.from)} to ${shownTime(window.to)} UTC. ${comparedWith(of, data)}`)}</p>
${section('In short', facts(data) + versionTable(data))}
${sections}
<footer>${escapeText(made)}</footer>
</main></body>
</html>
`
}

function comparedWith({ windowMs, paneMs }: ReportOf, { profile }: ReportData): string {
  const widths = `windows of ${hours(windowMs)}, panes of ${hours(paneMs)}`
  if (profile === null) return `Nothing was compared with a reference profile (${widths}).`
  return `Compared with profile ${profile.profile}, ${shown(profile.rows)} rows; ${widths}.`
}

function facts({ versions, drift, lags, firing }: ReportData): string {
  const predictions = versions.filter(({ role }) => role !== 'shadow').reduce((sum, { n }) => sum + n, 0)
  const labelled = lags.reduce((sum, { lag_hours, predictions: count }) => sum + (lag_hours === null ? 0 : count), 0)
  const features = new Set(
    drift.filter(({ subject, feature }) => subject === 'feature' && feature !== '*').map(({ feature }) => feature),
  )
  const drifted = new Set(
    drift
      .filter(({ drifts, subject, feature }) => drifts && subject === 'feature' && feature !== '*')
      .map(({ feature }) => feature),
  )
  const fact = (value: string, name: string, bad = false): string =>
    element(
      'div',
      bad ? { class: 'bad' } : {},
      element('b', {}, escapeText(value)),
      element('span', {}, escapeText(name)),
    )
  return element(
    'div',
    { class: 'facts' },
    fact(shown(predictions), 'predictions'),
    fact(shown(labelled), 'with a label'),
    fact(
      features.size === 0 ? '–' : `${drifted.size} of ${features.size}`,
      'features that drifted in some window',
      drifted.size > 0,
    ),
    fact(shown(firing.length), 'rules that fire now', firing.length > 0),
  )
}

function versionTable({ versions }: ReportData): string {
  if (versions.length === 0) return ''
  const rows = versions.map(({ model_version, role, n, first, last }) => [
    model_version,
    role,
    shown(n),
    shownTime(first),
    shownTime(last),
  ])
  return `<p></p>${table(['version', 'role', 'predictions', 'first event', 'last event'], rows)}`
}

function hours(ms: number): string {
  return ms % DAY_MS === 0 ? `${ms / DAY_MS} d` : `${shown((24 * ms) / DAY_MS)} h`
}
