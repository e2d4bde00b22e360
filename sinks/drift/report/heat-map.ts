import { element, escapeText, GRID, INK, label, MUTED, mark, picture } from './svg.ts'

export interface HeatCell {
  /** How many times its threshold the worst metric is; NaN = nothing could be said. */
  readonly times: number
  readonly drift: boolean
  readonly tooltip: string
}

export interface HeatMap {
  readonly name: string
  readonly rows: readonly string[]
  readonly columns: readonly string[]
  /** By row and column; null = there was nothing. */
  cell(row: number, column: number): HeatCell | null
}

const LEVELS: readonly (readonly [below: number, color: string, said: string])[] = [
  [0.5, '#edf3f8', 'below half its threshold'],
  [1, '#c9dcec', 'below its threshold'],
  [2, '#f7d794', 'above'],
  [5, '#ee9f54', 'above 2 times'],
  [Number.POSITIVE_INFINITY, '#c8452d', 'above 5 times'],
]
const ROW = 22
const LEFT = 150
const TOP = 8
const BOTTOM = 64
const WIDTH = 1040
const MOST_LABELS = 26

export function heatMap(map: HeatMap): string {
  const { rows, columns } = map
  const width = Math.min(64, (WIDTH - LEFT - 10) / Math.max(1, columns.length))
  const bottom = TOP + rows.length * ROW
  const cells = rows.flatMap((_, row) =>
    columns.map((_column, column) => cellAt(map, row, column, LEFT + column * width, TOP + row * ROW, width)),
  )
  const every = Math.ceil(columns.length / MOST_LABELS)
  const names = [
    ...rows.map((name, row) =>
      label(LEFT - 8, TOP + row * ROW + 15, short(name, 22), { 'text-anchor': 'end', fill: INK }),
    ),
    ...columns.map((name, column) => {
      const x = LEFT + (column + 0.5) * width
      const turned = `rotate(-40 ${Math.round(x)} ${bottom + 14})`
      return column % every === 0
        ? label(x, bottom + 14, short(name, 16), { 'text-anchor': 'end', transform: turned })
        : ''
    }),
  ]
  return picture(WIDTH, bottom + BOTTOM, map.name, ...cells, ...names)
}

function cellAt(map: HeatMap, row: number, column: number, x: number, y: number, width: number): string {
  const cell = map.cell(row, column)
  const box = { x: x + 0.5, y: y + 0.5, width: Math.max(1, width - 1), height: ROW - 1, rx: 1.5 }
  if (cell === null) return ''
  if (Number.isNaN(cell.times)) return mark('rect', { ...box, fill: '#fff', stroke: GRID }, cell.tooltip)
  const [, fill] = LEVELS.find(([below]) => cell.times < below) ?? ['', '#fff']
  const dot = { cx: x + width / 2, cy: y + ROW / 2, r: Math.min(3.5, width / 4), fill: INK, 'pointer-events': 'none' }
  return mark('rect', { ...box, fill }, cell.tooltip) + (cell.drift ? element('circle', dot) : '')
}

/** What the colours mean. */
export function heatLegend(): string {
  const items = LEVELS.map(([, color, said]) => `<span><i style="background:${color}"></i>${escapeText(said)}</span>`)
  const none = `<span><i style="background:#fff"></i>too few records to say</span>`
  const dot = `<span><i class="dot" style="background:${INK}"></i>drift: above, and no chance</span>`
  return `<p class="legend" style="color:${MUTED}">${items.join('')}${none}${dot}</p>`
}

function short(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text
}
