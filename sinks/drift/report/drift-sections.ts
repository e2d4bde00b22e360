import { populationStability } from '../statistics/psi.ts'
import { heatLegend, heatMap } from './heat-map.ts'
import { histogram } from './histogram.ts'
import { figure, figures, note, nothing } from './markup.ts'
import type { DriftCell, ReportData, SubjectCounts } from './read-report.ts'
import {
  colorOf,
  element,
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

/** What a report says of data, as markup; each section says so when there is nothing to show. */

const MOST_COLUMNS = 60
const MOST_DRIFTED = 12
const MOST_BINS = 6

/** Features and the score, by time. */
export function driftOverTime({ drift }: ReportData): string {
  if (drift.length === 0) return nothing('No window was compared with a profile.')
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
  if (segments.length === 0) return nothing('No segment was compared with a profile in the last closed window.')
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
    return nothing('No score was counted: there are no panes in the window, or the reference has no scores.')
  const some = scores.slice(-4)
  return (
    note('Grey: the reference. In colour: the window.') +
    figures(
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

/** Of each feature that has drifted: both histograms, and the bins that made the difference. */
export function driftedFeatures({ drift, counts }: ReportData): string {
  const drifted = new Set(
    drift.filter(({ drifts, subject }) => drifts && subject === 'feature').map(({ feature }) => feature),
  )
  const found = worstFirst(drift).filter((name) => drifted.has(name))
  const shownOnes = found
    .slice(0, MOST_DRIFTED)
    .flatMap((name) => counts.filter(({ subject, feature }) => subject === 'feature' && feature === name))
  if (shownOnes.length === 0) return nothing('No feature has drifted.')
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
