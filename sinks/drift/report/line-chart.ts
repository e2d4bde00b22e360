import {
  element,
  escapeText,
  GRID,
  INK,
  label,
  line,
  linear,
  mark,
  path,
  picture,
  shown,
  shownTime,
  ticks,
} from './svg.ts'

export interface LinePoint {
  readonly x: number
  /** NaN = nothing known: the line breaks. */
  readonly y: number
  /** Of the 95 % interval; NaN = not known. */
  readonly low: number
  readonly high: number
  readonly tooltip: string
}

export interface Line {
  readonly name: string
  readonly color: string
  readonly isDashed: boolean
  /** By ascending x. */
  readonly points: readonly LinePoint[]
}

export interface LineChart {
  readonly name: string
  readonly lines: readonly Line[]
  readonly xRange: readonly [number, number]
  /** Null = as the lines need. */
  readonly yRange: readonly [number, number] | null
  /** Of the x axis. */
  readonly xText: 'time' | 'number'
  readonly xTitle?: string
  /** A line from corner to corner: what would be right. */
  readonly diagonal?: boolean
  readonly width?: number
  readonly height?: number
}

const LEFT = 46
const RIGHT = 14
const TOP = 10
const BOTTOM = 36

export function lineChart(chart: LineChart): string {
  const { width = 500, height = 220, lines, xRange } = chart
  const yRange = chart.yRange ?? rangeOf(lines)
  const x = linear(xRange, [LEFT, width - RIGHT])
  const y = linear(yRange, [height - BOTTOM, TOP])
  const grid = ticks(yRange, 4).map(
    (tick) =>
      line(LEFT, y(tick), width - RIGHT, y(tick)) + label(LEFT - 6, y(tick) + 4, shown(tick), { 'text-anchor': 'end' }),
  )
  const below = height - BOTTOM + 16
  const xTicks = chart.xText === 'time' ? timeTicks(xRange, width) : ticks(xRange, 6)
  const axis = xTicks.map((tick) => {
    const text = chart.xText === 'time' ? shownTime(tick) : shown(tick)
    return (
      line(x(tick), height - BOTTOM, x(tick), height - BOTTOM + 4, { stroke: '#aab4bd' }) +
      label(x(tick), below, text, { 'text-anchor': 'middle' })
    )
  })
  const title =
    chart.xTitle === undefined ? '' : label(width - RIGHT, height - 4, chart.xTitle, { 'text-anchor': 'end' })
  const right = chart.diagonal
    ? line(x(xRange[0]), y(yRange[0]), x(xRange[1]), y(yRange[1]), { stroke: '#9aa5b1', 'stroke-dasharray': '2 3' })
    : ''
  return picture(
    width,
    height,
    chart.name,
    ...grid,
    line(LEFT, y(yRange[0]), width - RIGHT, y(yRange[0]), { stroke: GRID }),
    ...axis,
    title,
    right,
    ...lines.map((each) => drawn(each, x, y)),
  )
}

function drawn({ points, color, isDashed }: Line, x: (at: number) => number, y: (value: number) => number): string {
  const dash: Readonly<Record<string, string>> = isDashed ? { 'stroke-dasharray': '5 4' } : {}
  const intervals = points.map(({ x: at, low, high }) =>
    Number.isFinite(low) && Number.isFinite(high)
      ? line(x(at), y(low), x(at), y(high), { stroke: color, 'stroke-opacity': 0.45, 'stroke-width': 1.5 })
      : '',
  )
  const dots = points.map(({ x: at, y: value, tooltip }) =>
    Number.isFinite(value)
      ? mark(
          'circle',
          { cx: x(at), cy: y(value), r: isDashed ? 2 : 3, fill: color, stroke: '#fff', 'stroke-width': 0.7 },
          tooltip,
        )
      : '',
  )
  const joined = path(
    points.map((point) => [x(point.x), y(point.y)]),
    { stroke: color, 'stroke-width': 1.8, ...dash },
  )
  return element('g', {}, ...intervals, joined, ...dots)
}

/** What the lines are, as markup. */
export function lineLegend(lines: readonly Pick<Line, 'name' | 'color' | 'isDashed'>[]): string {
  const items = lines.map(({ name, color, isDashed }) => {
    const dash: Readonly<Record<string, string>> = isDashed ? { 'stroke-dasharray': '5 4' } : {}
    const sample = picture(22, 8, '', line(0, 4, 22, 4, { stroke: color, 'stroke-width': 2, ...dash }))
    return element('span', {}, sample, element('b', { style: `color:${INK}` }, escapeText(name)))
  })
  return element('p', { class: 'legend' }, ...items)
}

function rangeOf(lines: readonly Line[]): readonly [number, number] {
  const values = lines
    .flatMap(({ points }) => points.flatMap(({ y, low, high }) => [y, low, high]))
    .filter(Number.isFinite)
  if (values.length === 0) return [0, 1]
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const room = (high - low || Math.abs(high) || 1) * 0.12
  return [low >= 0 ? Math.max(0, low - room) : low - room, high + room]
}

function timeTicks([from, to]: readonly [number, number], width: number): readonly number[] {
  const hour = 3_600_000
  const most = Math.max(2, Math.floor((width - LEFT - RIGHT) / 86))
  const steps = [1, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1_344, 4_032, 8_760].map((hours) => hours * hour)
  const step = steps.find((each) => (to - from) / each <= most) ?? to - from
  const found: number[] = []
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at)
  return found
}
