import { expect, test } from 'vitest'
import { createHeldAlerts, readHeldNote, type TopicAlert } from '../../sinks/drift/alerts/held-alerts.ts'

// What silence makes of the changes of rules.

const TOPIC = '1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1f0'

function alert(offset: number, rule: string, state: 'firing' | 'resolved'): TopicAlert {
  const said = { pipeline: 'p', rule, state, severity: 'warning', message: '', evidence_sql: '', at: 0 }
  return { id: `${TOPIC}-${offset}`, alert: said, offset, writtenAt: 0, dueAt: 1 }
}

const offsets = (alerts: readonly TopicAlert[]) => alerts.map(({ offset }) => offset)

test.each([
  ['began', ['firing'], [0], []],
  ['began and ended', ['firing', 'resolved'], [], [0, 1]],
  ['began again', ['firing', 'resolved', 'firing'], [2], [0, 1]],
  ['ended', ['resolved'], [0], []],
  ['ended and began again', ['resolved', 'firing'], [1], [0]],
  ['ended, began and ended', ['resolved', 'firing', 'resolved'], [2], [0, 1]],
] as const)('of what %s in silence this is left to say', (_, states, left, dropped) => {
  const held = createHeldAlerts()
  const all = states.map((state, offset) => alert(offset, 'drift', state))
  expect(all.flatMap((each) => offsets(held.hold(each))).toSorted()).toEqual(dropped)
  expect(offsets(held.all())).toEqual(left)
  // read again after a crash it is no news
  for (const each of all.slice(0, left[0] ?? 0)) expect(held.hold(each)).toEqual([])
  expect(offsets(held.all())).toEqual(left)
})

test('what is held is noted with a position, and found again by it', () => {
  const held = createHeldAlerts()
  expect(held.note(TOPIC)).toBe('')
  for (const each of [alert(7, 'one', 'resolved'), alert(9, 'two', 'firing'), alert(12, 'one', 'firing')])
    held.hold(each)
  const note = held.note(TOPIC)
  const places = readHeldNote(note, TOPIC)
  expect(places.toSorted((a, b) => a.offset - b.offset)).toEqual([
    { offset: 9, first: 'firing' },
    { offset: 12, first: 'resolved' },
  ])
  const again = createHeldAlerts()
  again.begin(places, [alert(9, 'two', 'firing'), alert(12, 'one', 'firing')])
  expect(again.note(TOPIC).length).toBe(note.length)
  // the receiver knows that one fired: what follows is said
  expect(offsets(again.hold(alert(13, 'one', 'resolved')))).toEqual([12])
  expect(offsets(again.hold(alert(14, 'two', 'resolved')))).toEqual([9, 14])
  expect(offsets(again.all())).toEqual([13])
  again.release(alert(13, 'one', 'resolved'))
  expect(again.all()).toEqual([])
  for (const other of ['', 'set by hand', note.replace('held', 'pend'), `held ${TOPIC} 9x`]) {
    expect(readHeldNote(other, TOPIC)).toEqual([])
  }
  expect(readHeldNote(note, 'another-topic')).toEqual([])
})

test('no more is held than a position can say', () => {
  const held = createHeldAlerts()
  let offset = Number.MAX_SAFE_INTEGER - 1_000
  for (let rule = 0; held.hasRoom(`rule-${rule}`); rule++) held.hold(alert(offset++, `rule-${rule}`, 'firing'))
  expect(held.all()).toHaveLength(200)
  expect(held.note(TOPIC).length).toBeLessThanOrEqual(4_096)
  expect(held.hasRoom('rule-0')).toBe(true)
})
