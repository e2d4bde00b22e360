/** Pictures as text: SVG that needs nothing beside it. Whatever comes from outside goes through `escapeText`. */

export const INK = '#1f2933'
export const MUTED = '#68737d'
export const GRID = '#e3e8ec'
/** The reference's own, and of what is compared with it. */
export const REFERENCE = '#b4bec8'
/** Of versions and other series, in this order; distinct for eyes that tell no red from green. */
export const SERIES: readonly string[] = ['#2468a8', '#d97a1f', '#5a9e6f', '#8b62b5', '#a8475a', '#4f9fb3']
/** Of the series in this place. */
export const colorOf = (at: number): string => SERIES[at % SERIES.length] ?? ''
export const WARNING = '#c0392b'

const ESCAPED: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

export function escapeText(text: string): string {
  // control characters are no part of XML
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPED[character] ?? '').replaceAll(/[^\P{Cc}\n\t]/gu, '�')
}

type Attributes = Readonly<Record<string, string | number>>

/** `children` are markup already. */
export function element(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const written = Object.entries(attributes).map(([key, value]) => {
    const text = typeof value === 'number' ? String(Math.round(value * 100) / 100) : value
    return ` ${key}="${escapeText(text)}"`
  })
  return `<${name}${written.join('')}>${children.join('')}</${name}>`
}

/** A mark that says `tooltip` when it is pointed at. */
export function mark(name: string, attributes: Attributes, tooltip: string): string {
  return element(name, attributes, element('title', {}, escapeText(tooltip)))
}

export function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element('text', { x, y, fill: MUTED, 'font-size': 11, ...attributes }, escapeText(text))
}

export function line(x1: number, y1: number, x2: number, y2: number, attributes: Attributes = {}): string {
  return element('line', { x1, y1, x2, y2, stroke: GRID, ...attributes })
}

/** `name` is what somebody is told who does not see it. */
export function picture(width: number, height: number, name: string, ...children: readonly string[]): string {
  const attributes = { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': name }
  return element('svg', { xmlns: 'http://www.w3.org/2000/svg', ...attributes }, ...children)
}

/** Points joined; where one is not finite the line breaks. */
export function path(points: readonly (readonly [number, number])[], attributes: Attributes): string {
  let isDown = false
  const steps = points.map(([x, y]) => {
    const draws = Number.isFinite(x) && Number.isFinite(y)
    const step = draws ? `${isDown ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}` : ''
    isDown = draws
    return step
  })
  return element('path', { d: steps.join(''), fill: 'none', ...attributes })
}

export type Scale = (value: number) => number

export function linear([low, high]: readonly [number, number], [from, to]: readonly [number, number]): Scale {
  const span = high - low || 1
  return (value) => from + ((value - low) / span) * (to - from)
}

/** About `count` round numbers that cover what is between. */
export function ticks([low, high]: readonly [number, number], count: number): readonly number[] {
  const raw = (high - low || 1) / count
  const power = 10 ** Math.floor(Math.log10(raw))
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw) ?? raw
  const found: number[] = []
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++)
    found.push(Number((at * step).toPrecision(12)))
  return found
}

/** A number with as many digits as somebody reads. */
export function shown(value: number): string {
  if (!Number.isFinite(value)) return '–'
  if (Number.isInteger(value)) return value.toLocaleString('en-US')
  return String(Number(value.toPrecision(3)))
}

export function percent(share: number): string {
  return Number.isFinite(share) ? `${shown(100 * share)} %` : '–'
}

/** The label of a bin with the digits that somebody reads. */
export function shownBin(label: string): string {
  return label.replaceAll(/-?\d+\.\d+(?:e[+-]?\d+)?/g, (number) => String(Number(Number(number).toPrecision(4))))
}

/** As `2013-04-11`, with the time of day where it is not midnight. */
export function shownTime(epochMs: number): string {
  const [day = '', time = ''] = new Date(epochMs).toISOString().split('T')
  return time.startsWith('00:00:00') ? day : `${day} ${time.slice(0, 5)}`
}
