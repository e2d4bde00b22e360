import { element, escapeText } from './svg.ts'

/** Pieces of sections. Texts are escaped here, bodies are markup already. */

export function nothing(text: string): string {
  return element('p', { class: 'none' }, escapeText(text))
}

export function note(text: string): string {
  return element('p', { class: 'note' }, escapeText(text))
}

export function figure(title: string, body: string): string {
  return element('figure', {}, element('figcaption', {}, escapeText(title)), body)
}

export function figures(some: readonly string[]): string {
  return element('div', { class: 'grid' }, ...some)
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
