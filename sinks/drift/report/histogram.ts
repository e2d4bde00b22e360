import {
  element,
  GRID,
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
  ticks,
} from './svg.ts'

export interface Histogram {
  readonly name: string
  /** Of each bin, in words. */
  readonly labels: readonly string[]
  /** Counts by bin, all of them: missing is the last. */
  readonly reference: readonly number[]
  readonly current: readonly number[]
  readonly color?: string
  readonly width?: number
}

const HEIGHT = 190
const LEFT = 44
const BOTTOM = 30
const TOP = 10

/** Shares of the reference (grey area) and of the window (bars). Missing values stand apart at the right. */
export function histogram({
  name,
  labels,
  reference,
  current,
  color = SERIES[0] ?? '',
  width = 500,
}: Histogram): string {
  const sides = [reference, current].map((counts) => counts.reduce((sum, count) => sum + count, 0))
  const [inReference = 0, inCurrent = 0] = sides
  const shares = labels.map((_, bin) => [(reference[bin] ?? 0) / inReference, (current[bin] ?? 0) / inCurrent] as const)
  const top = Math.max(0.01, ...shares.flat().filter(Number.isFinite)) * 1.05
  const y = linear([0, top], [HEIGHT - BOTTOM, TOP])
  const gap = 10
  const step = (width - LEFT - gap - 6) / labels.length
  const x = (bin: number): number => LEFT + bin * step + (bin === labels.length - 1 ? gap : 0)
  const grid = ticks([0, top], 4).map(
    (tick) =>
      line(LEFT, y(tick), width - 6, y(tick)) + label(LEFT - 5, y(tick) + 4, percent(tick), { 'text-anchor': 'end' }),
  )
  const bars = shares.map(([was, is], bin) => {
    const bar = (share: number, inset: number, fill: string, opacity: number): string =>
      Number.isFinite(share)
        ? element('rect', {
            ...{ x: x(bin) + inset * step, y: y(share), width: Math.max(0.5, step * (1 - 2 * inset)) },
            ...{ height: HEIGHT - BOTTOM - y(share), fill, 'fill-opacity': opacity },
          })
        : ''
    const tooltip = `${shownBin(labels[bin] ?? '')}\nreference ${percent(was)} (${shown(reference[bin] ?? 0)})\nwindow ${percent(is)} (${shown(current[bin] ?? 0)})`
    const whole = { x: x(bin), y: TOP, width: step, height: HEIGHT - BOTTOM - TOP, fill: 'transparent' }
    return bar(was, 0.03, REFERENCE, 1) + bar(is, 0.22, color, 0.9) + mark('rect', whole, tooltip)
  })
  return picture(
    width,
    HEIGHT,
    name,
    ...grid,
    ...bars,
    line(LEFT, y(0), width - 6, y(0), { stroke: GRID }),
    ...names(labels, x, step),
  )
}

/** Of as many bins as there is room for; the last, missing, always. */
function names(labels: readonly string[], x: (bin: number) => number, step: number): readonly string[] {
  const last = labels.length - 1
  const texts = labels.map((text) =>
    shownBin(text)
      .replace(/ to .*/, '')
      .slice(0, 13),
  )
  const room = x(last) + step - 52
  const widest = Math.max(...texts.slice(0, last).map((text) => text.length)) * 6.2 + 8
  const every = Math.max(1, Math.ceil(widest / step))
  return texts.flatMap((text, bin) => {
    const y = HEIGHT - BOTTOM + 15
    if (bin === last) return [label(x(bin) + step, y, text, { 'text-anchor': 'end' })]
    const middle = Math.max(x(bin) + step / 2, LEFT + text.length * 3.1 - 30)
    if (bin % every !== 0 || middle + text.length * 3.1 > room) return []
    return [label(middle, y, text, { 'text-anchor': 'middle' })]
  })
}
