import type { FeedPlace, FeedPosition } from './prediction-feed.ts'

/*
 * A position as the text of an event's id:
 *
 *   1.<topic id, 32 hex digits>.<offset>-<offset>-…        e.g. 1.0f8fad5bd9cb469fa16570867728950e.9ix-0-1c
 *
 * 1 is the version; the topic's id refuses positions of a topic that was made again; then the next offset of each partition
 * from 0, in base 36.
 */
const VERSION = '1'
const PATTERN = /^1\.([0-9a-f]{32})\.([0-9a-z]{1,11}(?:-[0-9a-z]{1,11})*)$/

/** `position` has every partition from 0; `generation` is a UUID. */
export function formatPositionId(generation: string, position: FeedPosition): string {
  let offsets = ''
  for (let partition = 0; partition < position.size; partition++) {
    offsets += `${partition === 0 ? '' : '-'}${(position.get(partition) ?? 0).toString(36)}`
  }
  return `${VERSION}.${generation.replaceAll('-', '')}.${offsets}`
}

/** Null when the text is not the id of a position. */
export function parsePositionId(text: string): FeedPlace | null {
  const [, digits = '', list = ''] = PATTERN.exec(text) ?? []
  if (digits === '') return null
  const offsets = list.split('-').map((offset) => Number.parseInt(offset, 36))
  if (!offsets.every(Number.isSafeInteger)) return null
  const generation = digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
  return { generation, position: new Map(offsets.entries()) }
}
